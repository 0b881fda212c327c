/* Parser of pixels in JSON: the compiled version of pixels_in_python in serving/protocol/pixels.py. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define LARGEST 255

static int is_digit(char c) { return c >= '0' && c <= '9'; }

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

/* Parse the number at `at` and return its end; NULL unless it is an integer from 0 to 255. */
static const char *read_pixel(const char *at, const char *end, unsigned char *pixel)
{
    if (at == end || !is_digit(*at))
        return NULL;
    unsigned value = (unsigned)(*at++ - '0');
    /* In JSON, only 0 itself begins with a zero. */
    while (value != 0 && value <= LARGEST && at < end && is_digit(*at))
        value = 10 * value + (unsigned)(*at++ - '0');
    if (value > LARGEST)
        return NULL;
    *pixel = (unsigned char)value;
    return at;
}

/* Parse a JSON list and return whether it has exactly `size` pixels. */
static int read_list(const char *at, const char *end, unsigned char *pixels, Py_ssize_t size)
{
    at = skip_space(at, end);
    for (Py_ssize_t i = 0; i < size; i++) {
        if (at == end || *at != (i == 0 ? '[' : ','))
            return 0;
        at = read_pixel(skip_space(at + 1, end), end, pixels + i);
        if (at == NULL)
            return 0;
        at = skip_space(at, end);
    }
    return at < end && *at == ']' && skip_space(at + 1, end) == end;
}

static PyObject *pixels_from_json(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *text;
    Py_ssize_t start, stop, size;
    if (!PyArg_ParseTuple(args, "Snnn", &text, &start, &stop, &size))
        return NULL;
    if (start < 0 || stop < start || stop > PyBytes_Size(text) || size < 1 || size > stop - start)
        Py_RETURN_NONE;
    PyObject *pixels = PyBytes_FromStringAndSize(NULL, size);
    if (pixels == NULL)
        return NULL;
    const char *first = PyBytes_AsString(text);
    if (read_list(first + start, first + stop, (unsigned char *)PyBytes_AsString(pixels), size))
        return pixels;
    Py_DECREF(pixels);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"pixels_from_json", pixels_from_json, METH_VARARGS, "As serving.protocol.pixels.pixels_from_json."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "serving.protocol._pixels", .m_methods = methods};

PyMODINIT_FUNC PyInit__pixels(void) { return PyModule_Create(&module); }
