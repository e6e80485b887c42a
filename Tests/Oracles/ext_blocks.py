# Which blocks of an unpartitioned disk hold a used cluster of its ext file system that is not all zero.
# By dumpe2fs's list of free blocks and the raw disk; knows nothing of vhdfs.
import re, subprocess, sys

raw, block = sys.argv[1], int(sys.argv[2])
text = subprocess.run(['dumpe2fs', raw], capture_output=True, text=True, check=True).stdout
unit = int(re.search(r'^Block size: +(\d+)', text, re.M).group(1))
count = int(re.search(r'^Block count: +(\d+)', text, re.M).group(1))
free = bytearray(count)
for line in re.findall(r'^  Free blocks: (.*)$', text, re.M):
    for part in line.replace(' ', '').split(','):
        if part:
            first, _, last = part.partition('-')
            for number in range(int(first), int(last or first) + 1):
                free[number] = 1
disk = open(raw, 'rb').read()
kept = set()
zero = bytes(unit)
for start in range(0, len(disk), unit):
    number = start // unit
    if number < count and free[number]:
        continue
    if disk[start:start + unit] != zero[:len(disk[start:start + unit])]:
        kept.add(start // block)
print(*sorted(kept))
