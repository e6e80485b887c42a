// print-ranges FILE: reads the lines "OFFSET LENGTH" of a file into memory, then prints them again, and tells on the
// standard error how many milliseconds the printing took: the least that an answer of so many ranges costs.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct range { uint64_t offset, length; };

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

int main(int count, char **words) {
  FILE *file = count == 2 ? fopen(words[1], "r") : NULL;
  if (!file) return perror("print-ranges"), 1;
  size_t used = 0, room = 1 << 20;
  struct range *ranges = malloc(room * sizeof *ranges), next;
  while (ranges && fscanf(file, "%" SCNu64 " %" SCNu64, &next.offset, &next.length) == 2) {
    if (used == room) ranges = realloc(ranges, (room *= 2) * sizeof *ranges);
    if (ranges) ranges[used++] = next;
  }
  if (!ranges) return perror("print-ranges"), 1;
  static char buffer[1 << 16];
  setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
  double started = now();
  for (size_t index = 0; index < used; index++)
    printf("%" PRIu64 " %" PRIu64 "\n", ranges[index].offset, ranges[index].length);
  if (fflush(stdout)) return perror("print-ranges"), 1;
  fprintf(stderr, "%.1f\n", now() - started);
  return 0;
}
