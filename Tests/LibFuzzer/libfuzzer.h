// What libFuzzer, which comes with the compiler's runtime, offers to a program with a main of its own.
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*callback)(const uint8_t *data, size_t size));

// libFuzzer's own mutations of `size` bytes at `data`, in room for `max_size`; returns the new size.
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
