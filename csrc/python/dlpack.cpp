// Arrays from and to other libraries as DLPack capsules (https://dmlc.github.io/dlpack, versions 0 and 1).

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "module.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace tesela {
namespace {

// The structures of dlpack.h.
struct DLTensor {
  void* data;
  int32_t device_type, device_id;
  int32_t ndim;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t* shape;
  int64_t* strides;  // in elements; null: row-major
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor tensor;
  void* context;
  void (*deleter)(DLManagedTensor*);
};
struct DLManagedTensorVersioned {
  uint32_t major, minor;
  void* context;
  void (*deleter)(DLManagedTensorVersioned*);
  uint64_t flags;
  DLTensor tensor;
};
constexpr uint64_t read_only_flag = 1;

template <class Managed>
constexpr const char* capsule_name = "dltensor";
template <>
constexpr const char* capsule_name<DLManagedTensorVersioned> = "dltensor_versioned";
template <class Managed>
constexpr const char* used_name_of = "used_dltensor";
template <>
constexpr const char* used_name_of<DLManagedTensorVersioned> = "used_dltensor_versioned";

[[noreturn]] void refuse(const std::string& why) { throw py::buffer_error("DLPack: " + why); }

// Takes the tensor out of the capsule; it lives as long as what is returned under "owner".
template <class Managed>
py::dict taken(const py::object& capsule, bool read_only) {
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), capsule_name<Managed>));
  if (managed == nullptr) throw py::error_already_set();
  PyCapsule_SetName(capsule.ptr(), used_name_of<Managed>);
  const py::capsule owner(managed, [](void* own) {
    auto* tensor = static_cast<Managed*>(own);
    if (tensor->deleter) tensor->deleter(tensor);
  });
  const DLTensor& t = managed->tensor;
  py::object strides = py::none();
  if (t.strides) strides = py::cast(std::vector<int64_t>(t.strides, t.strides + t.ndim));
  return py::dict("pointer"_a = reinterpret_cast<uintptr_t>(t.data) + t.byte_offset,
                  "device"_a = py::make_tuple(t.device_type, t.device_id),
                  "shape"_a = std::vector<int64_t>(t.shape, t.shape + t.ndim), "strides"_a = strides,
                  "dtype"_a = py::make_tuple(t.code, t.bits, t.lanes), "read_only"_a = read_only, "owner"_a = owner);
}

py::dict import_dlpack(const py::object& capsule) {
  if (PyCapsule_IsValid(capsule.ptr(), capsule_name<DLManagedTensorVersioned>)) {
    const auto* managed = static_cast<DLManagedTensorVersioned*>(
        PyCapsule_GetPointer(capsule.ptr(), capsule_name<DLManagedTensorVersioned>));
    if (managed->major > 1) refuse("expected version 0 or 1, got " + std::to_string(managed->major));
    return taken<DLManagedTensorVersioned>(capsule, managed->flags & read_only_flag);
  }
  if (!PyCapsule_IsValid(capsule.ptr(), capsule_name<DLManagedTensor>))
    refuse("expected a capsule that was not used yet");
  return taken<DLManagedTensor>(capsule, false);
}

// What an exported tensor holds on to.
template <class Managed>
struct Exported {
  Managed managed{};
  std::vector<int64_t> shape, strides;
  py::object owner;
};

template <class Managed>
void drop(Managed* managed) {
  if (!Py_IsInitialized()) return;
  const py::gil_scoped_acquire gil;
  delete static_cast<Exported<Managed>*>(managed->context);
}

template <class Managed>
py::object exported(uintptr_t pointer, std::pair<int32_t, int32_t> device, std::vector<int64_t> shape,
                    std::pair<uint8_t, uint8_t> type, py::object owner) {
  auto made = std::make_unique<Exported<Managed>>();
  made->shape = std::move(shape);
  made->strides.assign(made->shape.size(), 1);
  for (size_t d = made->shape.size(); d-- > 1;) made->strides[d - 1] = made->strides[d] * made->shape[d];
  made->owner = std::move(owner);
  made->managed.context = made.get();
  made->managed.deleter = drop<Managed>;
  made->managed.tensor = {reinterpret_cast<void*>(pointer),
                          device.first,
                          device.second,
                          static_cast<int32_t>(made->shape.size()),
                          type.first,
                          type.second,
                          1,
                          made->shape.data(),
                          made->strides.data(),
                          0};
  if constexpr (std::is_same_v<Managed, DLManagedTensorVersioned>) made->managed.major = 1;
  PyObject* capsule = PyCapsule_New(&made->managed, capsule_name<Managed>, [](PyObject* unused) {
    if (!PyCapsule_IsValid(unused, capsule_name<Managed>)) return;  // somebody has taken it
    drop(static_cast<Managed*>(PyCapsule_GetPointer(unused, capsule_name<Managed>)));
  });
  if (capsule == nullptr) throw py::error_already_set();
  made.release();
  return py::reinterpret_steal<py::object>(capsule);
}

}  // namespace

void define_dlpack(py::module_& m) {
  m.def("import_dlpack", &import_dlpack, "capsule"_a,
        "Takes the tensor out of a capsule: pointer, device, shape, strides, dtype, read_only, and its owner.");
  m.def(
      "export_dlpack",
      [](uintptr_t pointer, std::pair<int32_t, int32_t> device, std::vector<int64_t> shape,
         std::pair<uint8_t, uint8_t> type, py::object owner, bool versioned) {
        const auto make = versioned ? exported<DLManagedTensorVersioned> : exported<DLManagedTensor>;
        return make(pointer, device, std::move(shape), type, std::move(owner));
      },
      "pointer"_a, "device"_a, "shape"_a, "dtype"_a, "owner"_a, "versioned"_a,
      "A capsule of row-major memory that `owner` keeps alive; dtype is (code, bits).");
}

}  // namespace tesela
