# make            builds the program (deps first)
# make demo       makes a chain, mounts it, puts a file system on it, and checks what is in the files
# make test       builds and tests everything; ends with the counts of passed, failed and skipped
# make crash      tries power cuts at every moment of random histories; MINUTES=20 SEED=
# make kill       kills the server under load, ROUNDS=20 times, and checks what is there afterwards; SEED=
# make simulate   SEEDS=200: random histories with crashes, and failing hosts, against a model of what a disk must read as
# make mutants    JOBS=2: leaves out one step at a time that data relies on, and shows that the tests notice; ONLY="NAME…"
# make bench      measures, side by side with other programs; BENCH=--quick for a short look
# make fuzz       TARGET=all|NAME SECONDS=N: feeds decoders with hostile bytes; without a TARGET: lists them
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

.PHONY: all deps test-deps build demo test crash simulate mutants bench fuzz install format lint clean

all: build

# What building and mounting need; what the tests and the demo compare with; what the benchmarks compare with.
BUILD_PACKAGES = libfuse3-dev fuse3 libisal-dev pkg-config
TEST_PACKAGES = qemu-utils qemu-system-common libvhdi-utils p7zip-full fdisk gdisk fio e2fsprogs xfsprogs ntfs-3g \
  grub-common $(if $(filter x86_64,$(shell uname -m)),grub-pc-bin) dosfstools zstd bsdutils util-linux python3 sqlite3 psmisc nbdkit libnbd-bin

deps:
	@scripts/install-packages $(BUILD_PACKAGES)

test-deps: deps
	@scripts/install-packages $(TEST_PACKAGES)

build: deps
	$(SWIFT) build $(RELEASE) --product vhdfs

test: test-deps build
	@scripts/test

MINUTES ?= 20
crash: test-deps
	$(SWIFT) build -c release --product Simulator
	.build/release/Simulator crash --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# Needs root, /dev/fuse and loop devices.
.PHONY: kill
ROUNDS ?= 20
kill: test-deps build
	$(SWIFT) build --product Killer
	VHDFS_PROGRAM="$(CURDIR)/$(PROGRAM)" .build/debug/Killer --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

# How many histories; each is a seed, and says how to see it again when it fails. The hosts fail in one for 20 of them.
SEEDS ?= 200
simulate: deps
	$(SWIFT) build -c release --product Simulator
	.build/release/Simulator simulate --seeds $(SEEDS)
	.build/release/Simulator faults --seeds $$(( ($(SEEDS) + 19) / 20 ))

# Each mutant is built and tested in a copy of this tree, below .build/mutants; JOBS of them at a time.
JOBS ?= 2
mutants: test-deps
	SWIFT="$(SWIFT)" scripts/mutants --jobs $(JOBS) $(if $(ONLY),--only $(ONLY))

# The demo needs root for the loop device; it says so.
demo: test-deps build
	@examples/demo.sh $(PROGRAM)

# The program runs where no Swift is: its runtime is inside. Symbols stay in .build for whoever debugs.
bench: test-deps build
	@scripts/install-packages gcc
	@Benchmarks/bench.sh $(BENCH)

# libFuzzer and AddressSanitizer come with Swift. The corpus, if there is one, is unpacked with zstd.
fuzz: deps
	@scripts/install-packages zstd
	@scripts/fuzz $(TARGET) $(if $(TARGET),$(SECONDS))

# As root, it installs what was built before, because root may have no Swift.
install: $(PROGRAM)
	install -d "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(SBINDIR)" "$(DESTDIR)$(MANDIR)" "$(DESTDIR)$(DOCDIR)"
	install -m 755 -s $(PROGRAM) "$(DESTDIR)$(BINDIR)/vhdfs"
	for name in mount.vhdfs mount.fuse.vhdfs umount.fuse.vhdfs; do \
	  ln -sfn "$(BINDIR)/vhdfs" "$(DESTDIR)$(SBINDIR)/$$name"; done
	scripts/man-pages $(PROGRAM) .build/man
	install -m 644 .build/man/*.1 "$(DESTDIR)$(MANDIR)"
	install -d "$(DESTDIR)$(PREFIX)/share/bash-completion/completions" \
	  "$(DESTDIR)$(PREFIX)/share/zsh/site-functions" "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d"
	$(PROGRAM) --generate-completion-script bash >"$(DESTDIR)$(PREFIX)/share/bash-completion/completions/vhdfs"
	$(PROGRAM) --generate-completion-script zsh >"$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_vhdfs"
	$(PROGRAM) --generate-completion-script fish \
	  >"$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/vhdfs.fish"
	install -m 644 README.md CHANGELOG.md LICENSE docs/*.md "$(DESTDIR)$(DOCDIR)"

$(PROGRAM):
	$(MAKE) build

format:
	$(SWIFT) format --in-place --recursive --parallel Package.swift Sources Tests

lint:
	$(SWIFT) format lint --strict --recursive --parallel Package.swift Sources Tests

clean:
	rm -rf .build
