# Cython layer: NumPy arrays of any layout as rows of classes.

cdef struct view:
    # An array of any number of dimensions, in C order; neighbouring dimensions that step alike are one.
    char *data
    element element
    int ndim
    Py_ssize_t shape[MAX_DIMS]
    Py_ssize_t stride[MAX_DIMS]


cdef inline char *at(const view *v, Py_ssize_t i) noexcept nogil:
    cdef char *p = v.data
    cdef int d = v.ndim - 1
    if d == 0:
        return p + i * v.stride[0]
    while d >= 0:
        p += (i % v.shape[d]) * v.stride[d]
        i //= v.shape[d]
        d -= 1
    return p


cdef inline ptrdiff_t stride_of(const view *v, Py_ssize_t first, int n) noexcept nogil:
    # The bytes between neighbours among the n from `first`, or 0 where they are not all alike.
    cdef int last = v.ndim - 1
    return v.stride[last] if last == 0 or first % v.shape[last] + n <= v.shape[last] else 0


cdef element element_of(const char *fmt, Py_ssize_t size) except ELEMENTS:
    cdef char kind = fmt[0] if fmt != NULL else c"B"
    if kind == c"d":
        return F64
    if kind == c"f":
        return F32
    if kind == c"e":
        return F16
    if kind in b"bhilqn":
        return I8 if size == 1 else I16 if size == 2 else I32 if size == 4 else I64
    if kind in b"BHILQN?":
        return U8 if size == 1 else U16 if size == 2 else U32 if size == 4 else U64
    raise TypeError(f"no loop for elements of format {fmt}")


@cython.internal
@cython.final
@cython.freelist(8)
cdef class Rows:
    """A buffer held for the time of a call; its last axis may be split off as the class axis."""
    cdef Py_buffer buffer
    cdef view view
    cdef Py_ssize_t size              # rows
    cdef Py_ssize_t n_classes
    cdef Py_ssize_t class_stride              # bytes between classes

    def __cinit__(self, array, bint with_classes=False, bint writable=False):
        PyObject_GetBuffer(array, &self.buffer, PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
        cdef Py_buffer *b = &self.buffer
        cdef int d, last = b.ndim - with_classes
        self.view.data = <char *>b.buf
        self.view.element = element_of(b.format, b.itemsize)
        self.n_classes = b.shape[last] if with_classes else 1
        self.class_stride = b.strides[last] if with_classes else 0
        self.size = 1
        self.view.ndim = 0
        for d in range(last):
            self.size *= b.shape[d]
            if b.shape[d] == 1:
                continue
            if self.view.ndim and self.view.stride[self.view.ndim - 1] == b.shape[d] * b.strides[d]:
                self.view.shape[self.view.ndim - 1] *= b.shape[d]
                self.view.stride[self.view.ndim - 1] = b.strides[d]
            else:
                self.view.shape[self.view.ndim] = b.shape[d]
                self.view.stride[self.view.ndim] = b.strides[d]
                self.view.ndim += 1
        if self.view.ndim == 0:
            self.view.ndim, self.view.shape[0], self.view.stride[0] = 1, 1, 0

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)         # does nothing for a buffer that was never filled


cdef bint find_extent(array, size_t *ends) except -1:
    # Where the memory of all elements begins and ends; whether there is any.
    cdef Py_buffer buffer
    cdef Py_ssize_t step
    cdef int d
    PyObject_GetBuffer(array, &buffer, PyBUF_STRIDES)
    ends[0], ends[1] = <size_t>buffer.buf, <size_t>buffer.buf + buffer.itemsize
    for d in range(buffer.ndim):
        step = (buffer.shape[d] - 1) * buffer.strides[d]
        ends[step > 0] += step
    cdef bint some = buffer.len > 0
    PyBuffer_Release(&buffer)
    return some


def may_meet(array, tuple others):
    """Whether the memory from the first to the last element of an array meets that of another one, or of a dtype that
    buffers do not know; None is no array."""
    cdef size_t[2] own, of
    try:
        if not find_extent(array, own):
            return False
        for other in others:
            if other is not None and find_extent(other, of) and own[0] < of[1] and of[0] < own[1]:
                return True
    except (ValueError, BufferError):
        return True
    return False


cdef view floats(view v) noexcept:
    # Buffers know no bfloat16: it comes as the uint16 of its bits.
    if v.element == U16:
        v.element = BF16
    return v
