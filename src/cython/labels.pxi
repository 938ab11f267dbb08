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
    AHEAD = 16                        # objects fetched so far ahead


cdef struct coder:
    const char *items                 # IN
    Py_ssize_t stride
    Py_ssize_t size                   # of an item
    bint strings                      # they are pointers to str objects, and the caller holds the GIL
    char *codes                       # OUT  one a row, contiguous
    element code_element              # U8, U16 or U32


cdef bint read_strings(const coder *c, Py_ssize_t start, int n, Py_ssize_t stop, item *out) noexcept nogil:
    # Equal strings have the same number of bytes a character.
    cdef PyObject *string
    cdef int i, kind
    for i in range(n):
        if start + i + AHEAD < stop:
            __builtin_prefetch((<PyObject **>(c.items + (start + i + AHEAD) * c.stride))[0])
        string = (<PyObject **>(c.items + (start + i) * c.stride))[0]
        if string == NULL or not PyUnicode_CheckExact(string):
            return False
        kind = PyUnicode_KIND(string)
        if kind == 0:                 # of strings that are not "ready", before Python 3.12
            return False
        out[i] = [PyUnicode_DATA(string), 4 * kind * PyUnicode_GET_LENGTH(string) + kind // 2]
    return True


cdef void read_codes(const char *codes, element kind, Py_ssize_t first, int n, uint32_t *out) noexcept nogil:
    cdef int i
    if kind == U8:
        for i in range(n):
            out[i] = (<const uint8_t *>codes)[first + i]
    elif kind == U16:
        for i in range(n):
            out[i] = (<const uint16_t *>codes)[first + i]
    else:
        memcpy(out, <const uint32_t *>codes + first, n * sizeof(uint32_t))


cdef void write_codes(char *codes, element kind, Py_ssize_t first, int n, const uint32_t *code) noexcept nogil:
    cdef int i
    if kind == U8:
        for i in range(n):
            (<uint8_t *>codes)[first + i] = <uint8_t>code[i]
    elif kind == U16:
        for i in range(n):
            (<uint16_t *>codes)[first + i] = <uint16_t>code[i]
    else:
        memcpy(<uint32_t *>codes + first, code, n * sizeof(uint32_t))


cdef Py_ssize_t code_rows(const coder *c, Py_ssize_t start, Py_ssize_t stop, seen_items *seen) noexcept nogil:
    cdef item[BLOCK] strings
    cdef uint32_t[BLOCK] code
    cdef int n
    cdef bint found
    while start < stop:
        n = <int>min(<Py_ssize_t>BLOCK, stop - start)
        if not c.strings:
            found = codes_of_elements(seen, c.items + start * c.stride, c.stride, c.size, n, start, code)
        elif read_strings(c, start, n, stop, strings):
            found = codes_of_items(seen, strings, n, start, code)
        else:
            return NOT_STRINGS
        if not found:
            return TOO_MANY
        write_codes(c.codes, c.code_element, start, n, code)
        start += n
    return seen.n


def code_items(items, codes, uint32_t[:, ::1] slots, int64_t[:, ::1] first, *, bint strings=False):
    """Codes of the items of an array of one dimension, in each thread's rows in the order of appearance.

    Items are the same if their bytes are. strings: they are str objects, read with the GIL on one thread; without a GIL
    nobody may replace them meanwhile, as in NumPy's own loops. codes: contiguous uint8, uint16 or uint32. slots: zeros, for
    each thread 2^n of them, more than first.shape[1]. first: the first row of each code of each thread. Returns how many
    codes each thread has: -1 if `first` is too small, -2 if not all are str.
    """
    cdef Rows out = Rows(codes, False, True)
    cdef int n_threads = <int>slots.shape[0], t
    cdef Py_ssize_t limit = first.shape[1]
    cdef coder c
    cdef Py_buffer buffer
    cdef Py_ssize_t *counts = <Py_ssize_t *>calloc(n_threads, sizeof(Py_ssize_t))
    cdef seen_items *seen = <seen_items *>calloc(n_threads, sizeof(seen_items))
    cdef item *seen_item = <item *>malloc(n_threads * limit * sizeof(item))
    try:
        if counts == NULL or seen == NULL or seen_item == NULL:
            raise MemoryError
        PyObject_GetBuffer(items, &buffer, PyBUF_STRIDES)
        c = [<const char *>buffer.buf, buffer.strides[0], buffer.itemsize, strings, out.view.data, out.view.element]
        for t in range(n_threads):
            seen[t] = [&slots[t, 0], 0, seen_item + t * limit, &first[t, 0], limit, 0]
            while slots.shape[1] >> seen[t].slot_bits > 1:
                seen[t].slot_bits += 1
        if strings:
            counts[0] = code_rows(&c, 0, out.size, seen)
        else:
            for t in prange(n_threads, num_threads=n_threads, schedule="static", nogil=True):
                counts[t] = code_rows(&c, first_row(out.size, t, n_threads), first_row(out.size, t + 1, n_threads), &seen[t])
        PyBuffer_Release(&buffer)
        return [counts[t] for t in range(n_threads)]
    finally:
        free(seen_item)
        free(seen)
        free(counts)


cdef void recode_rows(const view *codes, const view *out, Py_ssize_t start, Py_ssize_t stop,
                      const int32_t *rank) noexcept nogil:
    cdef uint32_t[BLOCK] code
    cdef int i, n
    while start < stop:
        n = <int>min(<Py_ssize_t>BLOCK, stop - start)
        read_codes(codes.data, codes.element, start, n, code)
        for i in range(n):
            code[i] = <uint32_t>rank[code[i]]
        write_codes(out.data, out.element, start, n, code)
        start += n


def recode(codes, const int32_t[::1] ranks, const int64_t[::1] starts, out):
    """Each thread t's codes from code_items as codes of all: out[i] = ranks[starts[t] + codes[i]]; both are contiguous, and
    out may be codes."""
    cdef Rows given = Rows(codes), coded = Rows(out, False, True)
    cdef int n_threads = <int>starts.shape[0], t
    for t in prange(n_threads, num_threads=n_threads, schedule="static", nogil=True):
        recode_rows(&given.view, &coded.view, first_row(given.size, t, n_threads), first_row(given.size, t + 1, n_threads),
                    &ranks[starts[t]])
