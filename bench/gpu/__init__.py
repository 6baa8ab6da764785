"""Everything that needs a GPU, in one command and ten minutes: python -m bench.gpu --out DIR"""
