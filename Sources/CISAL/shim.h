/* ISA-L's CRC: crc32_iscsi is CRC-32C (Castagnoli), without initial or final inversion. */
#include <isa-l/crc.h>
