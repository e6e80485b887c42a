# Which blocks of an image have room in the file, by the image's own block table, and what the file is made of.
# Knows the formats from their specifications; knows nothing of vhdfs.
# Prints: blocks with room, and the file's bytes that are neither structures nor these blocks.
import struct, sys

data = open(sys.argv[1], 'rb')
data.seek(0, 2)
size = data.tell()

def read(offset, count):
    data.seek(offset)
    return data.read(count)

def vhd():
    footer = read(size - 512, 512)
    assert footer[:8] == b'conectix', 'no footer'
    assert footer == read(0, 512), 'the copy differs'
    disk_size, header_offset = struct.unpack('>Q', footer[48:56])[0], struct.unpack('>Q', footer[16:24])[0]
    header = read(header_offset, 1024)
    assert header[:8] == b'cxsparse'
    table_offset, _, entries, block_size = struct.unpack('>QIII', header[16:36])
    count = (disk_size + block_size - 1) // block_size
    table = struct.unpack('>%dI' % count, read(table_offset, 4 * count))
    room = max(512, block_size // 512 // 8) + block_size
    blocks = {i: e * 512 for i, e in enumerate(table) if e != 0xFFFFFFFF}
    step = (room + 4095) // 4096 * 4096
    first = min(blocks.values(), default=size - 512)
    # Alignment may take less than a page for each block.
    unused = size - 512 - first - len(blocks) * room
    return blocks, max(0, unused - len(blocks) * (step - room) - 4096), {}

def vhdx():
    headers = []
    for offset in (64 << 10, 128 << 10):
        header = read(offset, 4096)
        assert header[:4] == b'head'
        headers.append((struct.unpack('<Q', header[8:16])[0], header))
    header = max(headers)[1]
    assert header[48:64] == bytes(16), 'the log is named'
    log_length, log_offset = struct.unpack('<I', header[68:72])[0], struct.unpack('<Q', header[72:80])[0]
    used = {0}
    used |= set(range(log_offset >> 20, (log_offset + log_length) >> 20))
    table = read(192 << 10, 65536)
    regions = {}
    for i in range(struct.unpack('<I', table[8:12])[0]):
        entry = table[16 + 32 * i:48 + 32 * i]
        offset, length = struct.unpack('<QI', entry[16:28])
        regions[entry[:16]] = offset
        used |= set(range(offset >> 20, (offset + length) >> 20))
    bat = regions[bytes.fromhex('6677c22d23f600429d64115e9bfd4a08')]
    metadata = regions[bytes.fromhex('06a27c8b90479a4bb8fe575f050f886e')]
    items = read(metadata, 65536)
    values = {}
    for i in range(struct.unpack('<H', items[10:12])[0]):
        entry = items[32 + 32 * i:64 + 32 * i]
        offset, length = struct.unpack('<II', entry[16:24])
        values[entry[:16]] = read(metadata + offset, length)
    block_size, flags = struct.unpack('<II', values[bytes.fromhex('3767a1ca36fa434db3b633f0aa44e76b')])
    disk_size = struct.unpack('<Q', values[bytes.fromhex('2442a52f1bcd7648b2115dbed83bf4b8')])[0]
    sector = struct.unpack('<I', values[bytes.fromhex('1dbf41816fa90947ba47f233a8faab5f')])[0]
    ratio = (sector << 23) // block_size
    count = (disk_size + block_size - 1) // block_size
    chunks = (count + ratio - 1) // ratio
    entries = chunks * (ratio + 1) if flags & 2 else count + (count - 1) // ratio
    table = struct.unpack('<%dQ' % entries, read(bat, 8 * entries))
    blocks, bitmaps, states = {}, 0, {}
    for i, entry in enumerate(table):
        state, offset = entry & 7, entry >> 20 << 20
        if i % (ratio + 1) == ratio:
            if state == 6:
                bitmaps += 1
                used.add(offset >> 20)
            continue
        block = i - i // (ratio + 1)
        states[block] = state
        if state in (6, 7):
            blocks[block] = offset
            room = set(range(offset >> 20, (offset + block_size) >> 20))
            assert not room & used, 'block %d overlaps' % block
            used |= room
        else:
            assert offset == 0, 'block %d keeps an anchor' % block
    return blocks, size - len(used) * (1 << 20), states

kind = vhdx if read(0, 8) == b'vhdxfile' else vhd
blocks, unused, states = kind()
print('blocks', *sorted(blocks))
print('unused', unused)
