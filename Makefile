# make            builds the program (deps first)
# make demo       makes a chain, mounts it, puts a file system on it, and checks what is in the files
# make test       builds and tests everything; ends with the counts of passed, failed and skipped
# make bench      measures, side by side with other programs
# make install    PREFIX=/usr/local DESTDIR=
# make format | lint | clean
#
# Each goal can be the first thing typed on a fresh Debian that has Swift: deps installs what is missing.

SWIFT ?= swift
PREFIX ?= /usr/local
DESTDIR ?=
# mount(8) and umount(8) look for their helpers here and nowhere else.
SBINDIR ?= /sbin
BINDIR = $(PREFIX)/bin
MANDIR = $(PREFIX)/share/man/man1
DOCDIR = $(PREFIX)/share/doc/vhdfs

RELEASE = -c release --static-swift-stdlib
PROGRAM = .build/release/vhdfs

# Warnings in our own targets are errors (Package.swift).
export VHDFS_STRICT = 1

.PHONY: all deps test-deps bench-deps build demo test bench install man format lint clean

all: build

# What building and mounting need; what the tests and the demo compare with; what the benchmarks compare with.
BUILD_PACKAGES = libfuse3-dev fuse3 libisal-dev pkg-config
TEST_PACKAGES = qemu-utils qemu-system-common libvhdi-utils p7zip-full fdisk gdisk fio e2fsprogs xfsprogs ntfs-3g \
  zstd attr strace util-linux python3

deps:
	@scripts/install-packages $(BUILD_PACKAGES)

test-deps: deps
	@scripts/install-packages $(TEST_PACKAGES)

build: deps
	$(SWIFT) build $(RELEASE) --product vhdfs

test: test-deps build
	@scripts/test

format:
	$(SWIFT) format --in-place --recursive --parallel Package.swift Sources Tests

lint:
	$(SWIFT) format lint --strict --recursive --parallel Package.swift Sources Tests

clean:
	rm -rf .build
