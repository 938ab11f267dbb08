# Cython layer: which labels there are. Integers of a small range are marked in a table; all others, and strings, are told
# apart by their bytes, in a hash. Each thread takes consecutive rows and works in its own row of the arrays that the Python
# layer gives. Another thread of the program may be writing to the labels: they are never taken for an index unchecked.

ctypedef fused integer:
    int8_t
    int16_t
    int32_t
    int64_t
    uint8_t
    uint16_t
    uint32_t
    uint64_t


cdef inline Py_ssize_t first_row(Py_ssize_t n, int t, int n_threads) noexcept nogil:
    return n // n_threads * t + min(<Py_ssize_t>t, n % n_threads)


# ---- Integers.

cdef struct table:
    uint8_t *present                  # OUT  for lowest, lowest + 1, ...: 1 where there is such a label
    uint64_t size
    int64_t lowest


cdef void find_extremes(const integer *label, Py_ssize_t stride, Py_ssize_t n, int64_t *extremes) noexcept nogil:
    # What no int64 holds counts as the highest that it holds.
    cdef integer low = label[0], high = low, value
    cdef Py_ssize_t i
    if integer is int64_t and stride == sizeof(int64_t):
        KERNELS.memory.extremes(label, n, &extremes[0], &extremes[1])
        return
    for i in range(n):
        value = label[0]
        low, high = min(low, value), max(high, value)
        label = <const integer *>(<const char *>label + stride)
    if integer is uint64_t:
        low, high = min(low, <uint64_t>INT64_MAX), min(high, <uint64_t>INT64_MAX)
    extremes[0], extremes[1] = <int64_t>low, <int64_t>high


cdef void mark_present(const integer *label, Py_ssize_t stride, Py_ssize_t n, table marks) noexcept nogil:
    # Until the table is full, which shuffled labels soon make it.
    cdef uint64_t offset, first_absent = 0
    cdef Py_ssize_t i
    for i in range(n):
        offset = <uint64_t>label[0] - <uint64_t>marks.lowest
        if offset < marks.size and not marks.present[offset]:
            marks.present[offset] = 1
            while marks.present[first_absent]:
                first_absent += 1
                if first_absent == marks.size:
                    return
        label = <const integer *>(<const char *>label + stride)


cdef void scan(const integer *label, Py_ssize_t stride, Py_ssize_t n, int64_t *extremes, table marks) noexcept nogil:
    if extremes != NULL:
        find_extremes(label, stride, n, extremes)
    else:
        mark_present(label, stride, n, marks)


cdef void scan_rows(const view *labels, Py_ssize_t start, Py_ssize_t stop, int64_t *extremes, table marks) noexcept nogil:
    cdef char *p = at(labels, start)
    cdef Py_ssize_t stride = labels.stride[0], n = stop - start
    if labels.element == I64:
        scan(<const int64_t *>p, stride, n, extremes, marks)
    elif labels.element == I32:
        scan(<const int32_t *>p, stride, n, extremes, marks)
    elif labels.element == I16:
        scan(<const int16_t *>p, stride, n, extremes, marks)
    elif labels.element == I8:
        scan(<const int8_t *>p, stride, n, extremes, marks)
    elif labels.element == U64:
        scan(<const uint64_t *>p, stride, n, extremes, marks)
    elif labels.element == U32:
        scan(<const uint32_t *>p, stride, n, extremes, marks)
    elif labels.element == U16:
        scan(<const uint16_t *>p, stride, n, extremes, marks)
    else:
        scan(<const uint8_t *>p, stride, n, extremes, marks)


cdef void scan_share(const view *labels, Py_ssize_t n, int t, int n_threads, int64_t *extremes, table marks) noexcept nogil:
    # Each thread has two extremes, or a table, of its own.
    if extremes != NULL:
        extremes += 2 * t
    else:
        marks.present += t * marks.size
    scan_rows(labels, first_row(n, t, n_threads), first_row(n, t + 1, n_threads), extremes, marks)


cdef void scan_all(Rows labels, int n_threads, int64_t *extremes, table marks):
    cdef int t
    cdef Py_ssize_t n = labels.size
    if n_threads == 1:                # a parallel region of one would take a microsecond
        scan_share(&labels.view, n, 0, 1, extremes, marks)
        return
    for t in prange(n_threads, num_threads=n_threads, schedule="static", nogil=True):
        scan_share(&labels.view, n, t, n_threads, extremes, marks)


def label_range(labels, int64_t most, int n_threads):
    """The lowest and the highest of integer labels in one dimension, at least one a thread, and which there are.

    These are a byte for the lowest, the next one and so on, 1 where there is such a label; or None where all are there. None
    instead of all three: there may be more than `most`, or one beyond int64.
    """
    cdef Rows rows = Rows(labels)
    cdef int t
    cdef Py_ssize_t i
    cdef int64_t low, high
    cdef uint64_t size
    cdef uint8_t *present
    cdef table none = [NULL, 0, 0]
    cdef int64_t *extremes = <int64_t *>calloc(n_threads, 2 * sizeof(int64_t))
    if extremes == NULL:
        raise MemoryError
    scan_all(rows, n_threads, extremes, none)
    low, high = extremes[0], extremes[1]
    for t in range(1, n_threads):
        low, high = min(low, extremes[2 * t]), max(high, extremes[2 * t + 1])
    free(extremes)
    size = <uint64_t>high - <uint64_t>low
    if size >= <uint64_t>most or high == INT64_MAX:      # which stands for all that is higher
        return None
    size += 1
    present = <uint8_t *>calloc(n_threads, size)
    if present == NULL:
        raise MemoryError
    scan_all(rows, n_threads, NULL, [present, size, low])
    for t in range(1, n_threads):
        for i in range(<Py_ssize_t>size):
            present[i] |= present[t * size + i]
    try:
        if memchr(present, 0, size) == NULL:
            return low, high, None
        return low, high, (<char *>present)[:size]
    finally:
        free(present)


# ---- Items: elements of a fixed size, or str objects.

cdef extern from "Python.h" nogil:
    bint PyUnicode_CheckExact(PyObject *)
    int PyUnicode_KIND(PyObject *)
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject *)
    const char *PyUnicode_DATA(PyObject *)

cdef extern from * nogil:
    void __builtin_prefetch(const void *)

cdef enum:
    TOO_MANY = -1
    NOT_STRINGS = -2
    AHEAD_BYTES = 1024                # fetched so far ahead of the hash, which else waits for memory half of the time
    AHEAD_OBJECTS = 16


cdef struct item:
    const char *p
    Py_ssize_t size
    int kind                          # of a str: bytes a character. Equal strings have the same.


cdef struct coder:
    const char *items                 # IN
    Py_ssize_t stride
    Py_ssize_t size                   # of an item
    bint strings                      # they are pointers to str objects, and the caller holds the GIL
    char *codes                       # OUT  one a row, contiguous
    element code_element              # U8, U16 or U32
    Py_ssize_t limit                  # of distinct items
    int slot_bits                     # the hash has 2^slot_bits slots, more than the limit


cdef inline bint read_item(const coder *c, Py_ssize_t row, item *found) noexcept nogil:
    cdef const char *p = c.items + row * c.stride
    cdef PyObject *string
    if not c.strings:
        found.p, found.size, found.kind = p, c.size, 0
        return True
    string = (<PyObject **>p)[0]
    if string == NULL or not PyUnicode_CheckExact(string):
        return False
    found.kind = PyUnicode_KIND(string)
    found.p, found.size = PyUnicode_DATA(string), PyUnicode_GET_LENGTH(string) * found.kind
    return found.kind != 0            # it is 0 for strings that are not "ready", before Python 3.12


cdef inline void prefetch_item(const coder *c, Py_ssize_t row, Py_ssize_t stop) noexcept nogil:
    if not c.strings:
        __builtin_prefetch(c.items + row * c.stride + (AHEAD_BYTES if c.stride > 0 else -AHEAD_BYTES))
    elif row + AHEAD_OBJECTS < stop:
        __builtin_prefetch((<PyObject **>(c.items + (row + AHEAD_OBJECTS) * c.stride))[0])


cdef inline uint64_t load_8(const char *p) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, p, 8)
    return word


cdef inline uint64_t load_4(const char *p) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, p, 4)
    return word


cdef inline uint64_t last_word(item x) noexcept nogil:
    # The last 8 bytes; where there are fewer, a word that tells them all.
    if x.size >= 8:
        return load_8(x.p + x.size - 8)
    if x.size >= 4:
        return load_4(x.p) | load_4(x.p + x.size - 4) << 32
    if x.size > 0:
        return <uint8_t>x.p[0] | <uint8_t>x.p[x.size // 2] << 8 | <uint8_t>x.p[x.size - 1] << 16
    return 0


cdef inline uint64_t hash_item(item x) noexcept nogil:
    # Products with an odd number, 2^64 over the golden ratio, which carry every bit upwards. None waits for another; the sum
    # is rotated so that the order of the words counts. The upper bits are the good ones.
    cdef uint64_t golden = 0x9e3779b97f4a7c15u, h = x.size
    cdef Py_ssize_t i
    for i in range(0, x.size - 8, 8):
        h = (h << 23 | h >> 41) + load_8(x.p + i) * golden
    h = (h << 23 | h >> 41) + last_word(x) * golden
    return (h ^ h >> 32) * golden


cdef inline bint same_item(item x, item y) noexcept nogil:
    cdef Py_ssize_t i
    if x.size != y.size or x.kind != y.kind:
        return False
    for i in range(0, x.size - 8, 8):
        if load_8(x.p + i) != load_8(y.p + i):
            return False
    return last_word(x) == last_word(y)


cdef inline void write_code(char *codes, Py_ssize_t i, element kind, uint32_t code) noexcept nogil:
    if kind == U8:
        (<uint8_t *>codes)[i] = <uint8_t>code
    elif kind == U16:
        (<uint16_t *>codes)[i] = <uint16_t>code
    else:
        (<uint32_t *>codes)[i] = code


cdef Py_ssize_t code_rows(coder c, Py_ssize_t start, Py_ssize_t stop, uint32_t *slot, int64_t *first) noexcept nogil:
    # Codes in the order of appearance. first[code] is its first row; a slot holds a code + 1, or 0.
    cdef Py_ssize_t i, n_codes = 0
    cdef uint64_t s, mask = (<uint64_t>1 << c.slot_bits) - 1
    cdef item x, y
    for i in range(start, stop):
        prefetch_item(&c, i, stop)
        if not read_item(&c, i, &x):
            return NOT_STRINGS
        s = hash_item(x) >> (64 - c.slot_bits)
        while slot[s] and not (read_item(&c, first[slot[s] - 1], &y) and same_item(x, y)):
            s = (s + 1) & mask
        if not slot[s]:
            if n_codes == c.limit:
                return TOO_MANY
            first[n_codes] = i
            n_codes += 1
            slot[s] = <uint32_t>n_codes
        write_code(c.codes, i, c.code_element, slot[s] - 1)
    return n_codes


def code_items(items, codes, uint32_t[:, ::1] slots, int64_t[:, ::1] first, *, bint strings=False):
    """Codes of the items of an array of one dimension, in each thread's rows in the order of appearance.

    Items are the same if their bytes are. strings: they are str objects, read with the GIL on one thread; without a GIL
    nobody may replace them meanwhile, as in NumPy's own loops. codes: contiguous uint8, uint16 or uint32. slots: zeros, for
    each thread 2^n of them, more than first.shape[1]. first: the first row of each code of each thread. Returns how many
    codes each thread has: -1 if `first` is too small, -2 if not all are str.
    """
    cdef Rows out = Rows(codes, False, True)
    cdef int n_threads = <int>slots.shape[0], t
    cdef coder c
    cdef Py_buffer buffer
    cdef Py_ssize_t *counts = <Py_ssize_t *>calloc(n_threads, sizeof(Py_ssize_t))
    if counts == NULL:
        raise MemoryError
    try:
        PyObject_GetBuffer(items, &buffer, PyBUF_STRIDES)
        c = [<const char *>buffer.buf, buffer.strides[0], buffer.itemsize, strings, out.view.data, out.view.element,
             first.shape[1], 0]
        while slots.shape[1] >> c.slot_bits > 1:
            c.slot_bits += 1
        if strings:
            counts[0] = code_rows(c, 0, out.size, &slots[0, 0], &first[0, 0])
        else:
            for t in prange(n_threads, num_threads=n_threads, schedule="static", nogil=True):
                counts[t] = code_rows(c, first_row(out.size, t, n_threads), first_row(out.size, t + 1, n_threads),
                                      &slots[t, 0], &first[t, 0])
        PyBuffer_Release(&buffer)
        return [counts[t] for t in range(n_threads)]
    finally:
        free(counts)


cdef void recode_rows(const view *codes, const view *out, Py_ssize_t start, Py_ssize_t stop,
                      const int32_t *rank) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(start, stop):
        write_code(out.data, i, out.element, <uint32_t>rank[read_code(codes.data + i * codes.stride[0], codes.element)])


def recode(codes, const int32_t[::1] ranks, const int64_t[::1] starts, out):
    """Each thread t's codes from code_items as codes of all: out[i] = ranks[starts[t] + codes[i]]; out may be codes."""
    cdef Rows given = Rows(codes), coded = Rows(out, False, True)
    cdef int n_threads = <int>starts.shape[0], t
    for t in prange(n_threads, num_threads=n_threads, schedule="static", nogil=True):
        recode_rows(&given.view, &coded.view, first_row(given.size, t, n_threads), first_row(given.size, t + 1, n_threads),
                    &ranks[starts[t]])
