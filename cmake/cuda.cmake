# Finds nvcc and compiles csrc/cuda with it. Each file is one explicit command: CMake's own CUDA support refuses toolkits
# that are laid out as PyPI wheels, and nothing here needs device linking.

# Python's site-packages, where wheels of the CUDA toolkit would lie: the building environment's first.
execute_process(
  COMMAND "${Python_EXECUTABLE}" -c
          "import glob, sys; print(';'.join(f for p in sys.path for f in glob.glob(p + '/nvidia/cu[0-9]*/bin')))"
  OUTPUT_VARIABLE wheels OUTPUT_STRIP_TRAILING_WHITESPACE)

if("$ENV{TESELA_CUDA_FROM_PYPI}")
  find_program(TESELA_NVCC nvcc PATHS ${wheels} NO_DEFAULT_PATH)
endif()
if(DEFINED ENV{CUDACXX} AND NOT TESELA_NVCC)
  set(TESELA_NVCC "$ENV{CUDACXX}" CACHE FILEPATH "nvcc")
endif()
foreach(root "${CUDAToolkit_ROOT}" "$ENV{CUDAToolkit_ROOT}" "$ENV{CUDA_PATH}" "$ENV{CUDA_HOME}")
  find_program(TESELA_NVCC nvcc PATHS "${root}/bin" NO_DEFAULT_PATH)
endforeach()
find_program(TESELA_NVCC nvcc PATHS ENV PATH NO_DEFAULT_PATH)
find_program(TESELA_NVCC nvcc PATHS ${wheels} /usr/local/cuda/bin NO_DEFAULT_PATH)

if(NOT TESELA_NVCC AND TESELA_CUDA STREQUAL "ON")
  message(FATAL_ERROR "TESELA_CUDA=ON: nvcc was not found. Set CUDACXX to it, put it on PATH, or set "
                      "TESELA_CUDA_FROM_PYPI=1 to have it installed for the build.")
elseif(NOT TESELA_NVCC)
  message(STATUS "tesela: no CUDA kernels (TESELA_CUDA=AUTO, and nvcc was not found)")
  return()
endif()

# nvcc itself says where its toolkit is, through links and wrapper scripts.
execute_process(COMMAND "${TESELA_NVCC}" --dryrun -c nothing.cu OUTPUT_VARIABLE plan ERROR_VARIABLE plan)
execute_process(COMMAND "${TESELA_NVCC}" --version OUTPUT_VARIABLE version RESULT_VARIABLE failed)
string(REGEX MATCH "release ([0-9.]+), V([0-9.]+)" version "${version}")
set(nvcc_version "${CMAKE_MATCH_2}")
string(REGEX MATCH "TOP=([^\n]+)" plan "${plan}")
get_filename_component(toolkit "${CMAKE_MATCH_1}" REALPATH)
find_library(TESELA_CUDART NAMES libcudart_static.a PATHS "${toolkit}" NO_DEFAULT_PATH
             PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib targets/sbsa-linux/lib)
if(failed OR NOT nvcc_version OR nvcc_version VERSION_LESS 12.5 OR NOT TESELA_CUDART)
  set(problem "${TESELA_NVCC} is no toolkit of CUDA 12.5 or newer: version '${nvcc_version}', toolkit '${toolkit}'")
  if(TESELA_CUDA STREQUAL "ON")
    message(FATAL_ERROR "TESELA_CUDA=ON: ${problem}.")
  endif()
  message(STATUS "tesela: no CUDA kernels (TESELA_CUDA=AUTO, and ${problem})")
  return()
endif()

# Turing, Ampere, Hopper; PTX of compute_80 for whatever comes between and after.
if(DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(architectures "${CMAKE_CUDA_ARCHITECTURES}")
elseif(DEFINED ENV{CUDAARCHS})
  set(architectures "$ENV{CUDAARCHS}")
else()
  set(architectures "75-real;80;90a-real")
endif()
set(targets)
set(names)
foreach(architecture ${architectures})
  string(REGEX REPLACE "-(real|virtual)$" "" number "${architecture}")
  set(codes "sm_${number}" "compute_${number}")
  if(architecture MATCHES "-real$")
    list(REMOVE_AT codes 1)
  elseif(architecture MATCHES "-virtual$")
    list(REMOVE_AT codes 0)
  elseif(NOT architecture MATCHES "^[0-9]+[af]?$")
    message(FATAL_ERROR "CMAKE_CUDA_ARCHITECTURES: expected numbers such as 80, 90a-real or 80-virtual, got ${architecture}")
  endif()
  list(APPEND names ${codes})
  string(REPLACE ";" "," codes "${codes}")
  list(APPEND targets -gencode "arch=compute_${number},code=[${codes}]")
endforeach()
string(REPLACE ";" " " names "${names}")
message(STATUS "tesela: CUDA kernels by nvcc ${nvcc_version} (${TESELA_NVCC}) for ${names}")

# Every kernel has a budget of registers, shared memory and stack (csrc/cuda/budgets). A build with TESELA_WERROR fails
# where one does not keep it; a spilled register is always an error.
set(flags -std=c++20 -O3 ${targets} -ccbin "${CMAKE_CXX_COMPILER}" -Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wextra
          -DTESELA_DEVICE=cuda "-DTESELA_CUDA_ARCHITECTURES=\"${names}\"")
if(TESELA_WERROR)
  list(APPEND flags -Werror=all-warnings -Xcompiler=-Werror)
  set(strict --strict)
endif()
if(DEFINED ENV{CMAKE_CUDA_COMPILER_LAUNCHER})  # ccache, where it is asked for as CMake's own CUDA support would be
  set(CMAKE_CUDA_COMPILER_LAUNCHER "$ENV{CMAKE_CUDA_COMPILER_LAUNCHER}" CACHE STRING "What runs nvcc")
endif()
set(launcher)
if(CMAKE_CUDA_COMPILER_LAUNCHER)
  set(launcher --launcher "${CMAKE_CUDA_COMPILER_LAUNCHER}")
endif()
set(watch "${CMAKE_CURRENT_SOURCE_DIR}/cmake/nvcc.py")
foreach(source ${cuda_sources})
  set(budgets "${CMAKE_CURRENT_SOURCE_DIR}/csrc/cuda/budgets/${source}.json")
  set(input "${CMAKE_CURRENT_SOURCE_DIR}/csrc/cuda/${source}.cu")
  set(object "${CMAKE_CURRENT_BINARY_DIR}/cuda_${source}.o")
  add_custom_command(
    OUTPUT "${object}" DEPENDS "${input}" "${watch}" "${budgets}" DEPFILE "${object}.d"
    COMMAND "${Python_EXECUTABLE}" "${watch}" --budgets "${budgets}" ${strict} ${launcher} --
            "${TESELA_NVCC}" ${flags} -MD -MF "${object}.d" -c "${input}" -o "${object}"
    COMMENT "nvcc csrc/cuda/${source}.cu" VERBATIM)
  target_sources(_core PRIVATE "${object}")
  set_source_files_properties("${object}" PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
endforeach()
target_link_libraries(_core PRIVATE "${TESELA_CUDART}" Threads::Threads ${CMAKE_DL_LIBS} rt)
foreach(source csrc/backend.cpp csrc/python/module.cpp)
  source_compile_definitions(${source} TESELA_HAVE_CUDA=1)
endforeach()
source_compile_definitions(csrc/python/module.cpp
  TESELA_NVCC="${TESELA_NVCC}" TESELA_NVCC_VERSION="${nvcc_version}" TESELA_CUDA_ARCHITECTURES="${names}")
