/* What Python is too slow for: the keys of many entries at once, the hashes of many rows, and where rows begin.
 *
 * All run without Python's lock. Keys and hashes exist for several processors; the fastest that this one can run is chosen when
 * the module is loaded. The callers do the same with Python's own means where this file was not compiled, so it must
 * return the same bytes on every processor, and nothing else depends on it.
 *
 * KEYS. WinZip's AES derives the key of each entry by PBKDF2-HMAC-SHA1: 1000 rounds for each of four blocks of 20
 * bytes. The rounds of a block follow one another, but blocks know nothing of each other, those of one entry as little
 * as those of two. So each lane of a vector computes a block of its own. The part between LANES and its #else is that
 * computation, written once: this file includes itself for every number of lanes.
 *
 * ROWS. The digest of a table without an order is the sum of the SHA-256 of its rows, modulo 2^256.
 *
 * VALUES. Rows of MySQL's and MariaDB's dump clients are values in parentheses: strings between quotes, in which a
 * backslash escapes the byte behind it, and numbers or words.
 */

#ifndef LANES

#define Py_LIMITED_API 0x030b0000 /* one binary for Python 3.11 and all later ones */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 80")
#endif

#define JOINED(name, number) name##_##number
#define NAMED(name, number) JOINED(name, number)

#define ROTATED_LEFT(x, n) (((x) << (n)) | ((x) >> (32 - (n))))
#define ROTATED_RIGHT(x, n) (((x) >> (n)) | ((x) << (32 - (n))))

enum {
    SALT = 16,
    KEY = 66, /* of AES-256, of the HMAC, and two bytes that tell a wrong password */
    BLOCKS = 4, /* of 20 bytes, that a key is cut from */
    ROUNDS = 1000,
    LONGEST_PASSWORD = 64, /* of a longer one, HMAC takes the SHA-1; the caller does that */
    BLOCK = 64, /* bytes that SHA-1 and SHA-256 take at a time */
};

static uint32_t load_big_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void store_big_endian(uint8_t *bytes, uint32_t word)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(word >> (24 - 8 * i));
}

/* ---- Keys ---- */

/* Computes `count` keys: of `salts`, 16 bytes each, into `keys`, 66 bytes each. */
typedef void derive_function(const uint8_t *password, size_t length, const uint8_t *salts, size_t count, uint8_t *keys);

#if defined(ANY_PROCESSOR) /* tests: every number of lanes, whatever the processor has */
#define FOR(processor)
#define RUNS(processor) 1
#else
#define FOR(processor) __attribute__((target(processor)))
#define RUNS(processor) __builtin_cpu_supports(processor)
#endif

#if defined(__x86_64__) || defined(ANY_PROCESSOR)
#define LANES 16
#define TARGET FOR("avx512f")
#include "_native.c"
#define LANES 8
#define TARGET FOR("avx2")
#include "_native.c"
#endif
/* SSE2 on x86-64 and NEON on ARM belong to what every processor has; elsewhere the compiler takes vectors apart. */
#define LANES 4
#define TARGET
#include "_native.c"

/* ---- Rows ---- */

/* Takes some blocks of 64 bytes into the eight words of a SHA-256. */
typedef void hash_function(uint32_t state[8], const uint8_t *blocks, size_t count);

static const uint32_t SHA256_START[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static const uint32_t SHA256_ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static void hash_anywhere(uint32_t state[8], const uint8_t *blocks, size_t count)
{
    for (; count; count--, blocks += BLOCK) {
        uint32_t w[16], a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        UNROLLED /* so that nothing moves when the words change places */
        for (int i = 0; i < 64; i++) {
            if (i < 16) {
                w[i] = load_big_endian(blocks + 4 * i);
            } else {
                uint32_t early = w[(i + 1) & 15], late = w[(i + 14) & 15];
                w[i & 15] += w[(i + 9) & 15] + (ROTATED_RIGHT(early, 7) ^ ROTATED_RIGHT(early, 18) ^ (early >> 3))
                             + (ROTATED_RIGHT(late, 17) ^ ROTATED_RIGHT(late, 19) ^ (late >> 10));
            }
            uint32_t mixed_e = ROTATED_RIGHT(e, 6) ^ ROTATED_RIGHT(e, 11) ^ ROTATED_RIGHT(e, 25);
            uint32_t mixed_a = ROTATED_RIGHT(a, 2) ^ ROTATED_RIGHT(a, 13) ^ ROTATED_RIGHT(a, 22);
            uint32_t first = h + mixed_e + (g ^ (e & (f ^ g))) + SHA256_ROUND[i] + w[i & 15];
            uint32_t second = mixed_a + ((a & b) | (c & (a | b)));
            h = g, g = f, f = e, e = d + first;
            d = c, c = b, b = a, a = first + second;
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
        state[4] += e, state[5] += f, state[6] += g, state[7] += h;
    }
}

#if defined(__x86_64__)
/* The instructions of SHA-NI do two rounds at once, and keep the eight words as two vectors, ABEF and CDGH. */
__attribute__((target("sha,sse4.1")))
static void hash_sha_ni(uint32_t state[8], const uint8_t *blocks, size_t count)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abef = _mm_set_epi32((int)state[0], (int)state[1], (int)state[4], (int)state[5]);
    __m128i cdgh = _mm_set_epi32((int)state[2], (int)state[3], (int)state[6], (int)state[7]);
    for (; count; count--, blocks += BLOCK) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[4];
        UNROLLED
        for (int i = 0; i < 16; i++) {
            __m128i *now = &w[i & 3];
            if (i < 4) {
                *now = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)blocks + i), big_endian);
            } else {
                __m128i two_before = w[(i + 2) & 3], before = w[(i + 3) & 3];
                *now = _mm_add_epi32(_mm_sha256msg1_epu32(*now, w[(i + 1) & 3]), _mm_alignr_epi8(before, two_before, 4));
                *now = _mm_sha256msg2_epu32(*now, before);
            }
            __m128i added = _mm_add_epi32(*now, _mm_loadu_si128((const __m128i *)SHA256_ROUND + i));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, added);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(added, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    uint32_t out[2][4];
    _mm_storeu_si128((__m128i *)out[0], abef);
    _mm_storeu_si128((__m128i *)out[1], cdgh);
    for (int i = 0; i < 2; i++) {
        state[i] = out[0][3 - i], state[4 + i] = out[0][1 - i];
        state[2 + i] = out[1][3 - i], state[6 + i] = out[1][1 - i];
    }
}
#endif

/* Adds the SHA-256 of a row to a sum of eight words, the highest first. */
static void add_row(uint32_t sum[8], const uint8_t *row, size_t length, hash_function *hash)
{
    uint32_t state[8];
    uint8_t end[2 * BLOCK] = {0};
    size_t rest = length % BLOCK;
    size_t blocks = rest + 1 + sizeof(uint64_t) <= BLOCK ? 1 : 2; /* a one behind the text, and its length in bits */
    uint64_t bits = (uint64_t)length * 8;
    memcpy(state, SHA256_START, sizeof state);
    hash(state, row, length / BLOCK);
    memcpy(end, row + (length - rest), rest);
    end[rest] = 0x80;
    store_big_endian(end + blocks * BLOCK - 8, (uint32_t)(bits >> 32));
    store_big_endian(end + blocks * BLOCK - 4, (uint32_t)bits);
    hash(state, end, blocks);
    uint64_t carry = 0;
    for (int i = 7; i >= 0; i--) {
        carry += (uint64_t)sum[i] + state[i];
        sum[i] = (uint32_t)carry;
        carry >>= 32;
    }
}

/* Returns where a separator begins, or `end`. */
static const uint8_t *find(const uint8_t *text, const uint8_t *end, const uint8_t *separator, size_t length)
{
    while ((size_t)(end - text) >= length) {
        const uint8_t *found = memchr(text, separator[0], (size_t)(end - text) - length + 1);
        if (!found)
            break;
        if (!memcmp(found, separator, length))
            return found;
        text = found + 1;
    }
    return end;
}

/* Adds all rows of a text, which are what is between separators; returns their number. */
static size_t add_rows(uint32_t sum[8], const Py_buffer *text, const Py_buffer *separator, hash_function *hash)
{
    const uint8_t *row = text->buf, *end = row + text->len;
    for (size_t count = 1;; count++) {
        const uint8_t *row_end = find(row, end, separator->buf, (size_t)separator->len);
        add_row(sum, row, (size_t)(row_end - row), hash);
        if (row_end == end)
            return count;
        row = row_end + separator->len;
    }
}

/* ---- Values ---- */

/* Returns where a string ends, behind its quote, or `end`, with 1 in `inside` where the text ends in the string. */
static const char *skip_string(const char *text, const char *end, int *inside)
{
    while (text < end) {
        if (*text == '\'') {
            *inside = 0;
            return text + 1;
        }
        text += *text == '\\' && text + 1 < end ? 2 : 1;
    }
    *inside = 1;
    return end;
}

/* Returns the number of rows that begin in a text. */
static size_t count_begun(const char *text, const char *end, int *inside)
{
    size_t count = 0;
    if (*inside)
        text = skip_string(text, end, inside);
    while (text < end) {
        char byte = *text++;
        count += byte == '(';
        if (byte == '\'')
            text = skip_string(text, end, inside);
    }
    return count;
}

/* Returns where the value that begins here ends, or NULL where no value that clients write does. */
static const char *skip_value(const char *text, const char *end)
{
    int inside = 0;
    while (text < end && *text != ',' && *text != ')') {
        if (*text == '(')
            return NULL;
        text = *text == '\'' ? skip_string(text + 1, end, &inside) : text + 1;
    }
    return text < end && !inside ? text : NULL;
}

/* Copies rows that end in ",\n" each, without the values that are not to be kept.
 *
 * @kept: for each value of a row, 1 or 0.
 * Returns the number of bytes, or -1 where a row has another number of values. */
static Py_ssize_t copy_kept(const char *text, const char *end, const Py_buffer *kept, char *out)
{
    const char *keep = kept->buf;
    char *begin = out;
    while (text < end) {
        const char *separator = "(";
        if (*text++ != '(')
            return -1;
        for (Py_ssize_t i = 0; i < kept->len; i++) {
            const char *value = text;
            if (!(text = skip_value(text, end)) || *text++ != (i + 1 < kept->len ? ',' : ')'))
                return -1;
            if (!keep[i])
                continue;
            *out++ = *separator;
            memcpy(out, value, (size_t)(text - 1 - value));
            out += text - 1 - value;
            separator = ",";
        }
        if (*separator == '(')
            *out++ = '(';
        *out++ = ')';
        if (end - text < 2 || memcmp(text, ",\n", 2))
            return -1;
        memcpy(out, text, 2);
        out += 2, text += 2;
    }
    return out - begin;
}

/* ---- For Python ---- */

typedef struct {
    const char *name;
    derive_function *derive;
    hash_function *hash;
} way;

/* What this processor can run, the fastest first. */
static struct {
    way ways[3];
    Py_ssize_t count;
} for_keys, for_rows;

static void find_ways(void)
{
    for_keys.count = for_rows.count = 0;
#if defined(__x86_64__)
    unsigned eax, ebx = 0, ecx, edx;
    if (RUNS("avx512f"))
        for_keys.ways[for_keys.count++] = (way){"AVX-512", derive_16, NULL};
    if (RUNS("avx2"))
        for_keys.ways[for_keys.count++] = (way){"AVX2", derive_8, NULL};
    /* Compilers have names for SHA-NI only lately. No processor has it without SSE4.1, which the function uses, too. */
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && ebx & bit_SHA)
        for_rows.ways[for_rows.count++] = (way){"SHA-NI", NULL, hash_sha_ni};
#endif
    for_keys.ways[for_keys.count++] = (way){"basic vectors", derive_4, NULL};
    for_rows.ways[for_rows.count++] = (way){"plain C", NULL, hash_anywhere};
}

static PyObject *derive_many(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer password, salts;
    Py_ssize_t chosen = 0;
    PyObject *keys = NULL;
    if (!PyArg_ParseTuple(arguments, "y*y*|n", &password, &salts, &chosen))
        return NULL;
    if (password.len > LONGEST_PASSWORD || salts.len % SALT || chosen < 0 || chosen >= for_keys.count)
        PyErr_SetString(PyExc_ValueError, "a password of at most 64 bytes, salts of 16 bytes, and a way that there is");
    else if (salts.len / SALT > PY_SSIZE_T_MAX / KEY)
        PyErr_NoMemory();
    else if ((keys = PyBytes_FromStringAndSize(NULL, salts.len / SALT * KEY))) {
        uint8_t *out = (uint8_t *)PyBytes_AsString(keys);
        Py_BEGIN_ALLOW_THREADS
        for_keys.ways[chosen].derive(password.buf, (size_t)password.len, salts.buf, (size_t)salts.len / SALT, out);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&password);
    PyBuffer_Release(&salts);
    return keys;
}

static PyObject *sum_rows(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer text, separator;
    Py_ssize_t chosen = 0;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(arguments, "y*y*|n", &text, &separator, &chosen))
        return NULL;
    if (!separator.len || chosen < 0 || chosen >= for_rows.count)
        PyErr_SetString(PyExc_ValueError, "a separator, and a way that there is");
    else {
        uint32_t sum[8] = {0};
        uint8_t bytes[sizeof sum];
        size_t count;
        Py_BEGIN_ALLOW_THREADS
        count = add_rows(sum, &text, &separator, for_rows.ways[chosen].hash);
        Py_END_ALLOW_THREADS
        for (int i = 0; i < 8; i++)
            store_big_endian(bytes + 4 * i, sum[i]);
        result = Py_BuildValue("ny#", (Py_ssize_t)count, bytes, (Py_ssize_t)sizeof bytes);
    }
    PyBuffer_Release(&text);
    PyBuffer_Release(&separator);
    return result;
}

static PyObject *count_rows(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer text;
    int inside;
    size_t count;
    if (!PyArg_ParseTuple(arguments, "y*p", &text, &inside))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    count = count_begun(text.buf, (const char *)text.buf + text.len, &inside);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&text);
    return Py_BuildValue("ni", (Py_ssize_t)count, inside);
}

static PyObject *kept_values(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer text, kept;
    Py_ssize_t size = -1;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(arguments, "y*y*", &text, &kept))
        return NULL;
    char *out = PyMem_Malloc((size_t)text.len + 1);
    if (!out) {
        PyErr_NoMemory();
    } else {
        Py_BEGIN_ALLOW_THREADS
        size = copy_kept(text.buf, (const char *)text.buf + text.len, &kept, out);
        Py_END_ALLOW_THREADS
        result = size < 0 ? Py_NewRef(Py_None) : PyBytes_FromStringAndSize(out, size);
    }
    PyMem_Free(out);
    PyBuffer_Release(&text);
    PyBuffer_Release(&kept);
    return result;
}

static PyMethodDef METHODS[] = {
    {"derive_many", derive_many, METH_VARARGS, NULL},
    {"sum_rows", sum_rows, METH_VARARGS, NULL},
    {"count_rows", count_rows, METH_VARARGS, NULL},
    {"kept_values", kept_values, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "lifeboat.support._native",
    .m_size = -1,
    .m_methods = METHODS,
};

static int add_names(PyObject *module, const char *attribute, const way *ways, Py_ssize_t count)
{
    PyObject *names = PyTuple_New(count);
    for (Py_ssize_t i = 0; names && i < count; i++)
        PyTuple_SetItem(names, i, PyUnicode_FromString(ways[i].name));
    int failed = !names || PyErr_Occurred() || PyModule_AddObjectRef(module, attribute, names);
    Py_XDECREF(names);
    return failed;
}

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *module = PyModule_Create(&MODULE);
    find_ways();
    if (module && (add_names(module, "KEY_WAYS", for_keys.ways, for_keys.count)
                   || add_names(module, "ROW_WAYS", for_rows.ways, for_rows.count)))
        Py_CLEAR(module);
    return module;
}

#else /* LANES: the derivation, of as many blocks at once as a vector has lanes */

#define lanes NAMED(lanes, LANES)
#define take NAMED(take, LANES)
#define authenticate NAMED(authenticate, LANES)
#define derive NAMED(derive, LANES)

typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));

/* Takes a block of 16 words into the five words of a SHA-1, in every lane. */
TARGET __attribute__((always_inline))
static inline void take(lanes state[5], const lanes before[5], const lanes block[16])
{
    lanes w[16], a = before[0], b = before[1], c = before[2], d = before[3], e = before[4];
    UNROLLED /* wholly: then words that are constants, most of them zero, cost nothing */
    for (int i = 0; i < 80; i++) {
        if (i < 16) {
            w[i] = block[i];
        } else {
            lanes mixed = w[(i + 13) & 15] ^ w[(i + 8) & 15] ^ w[(i + 2) & 15] ^ w[i & 15];
            w[i & 15] = ROTATED_LEFT(mixed, 1);
        }
        lanes next = ROTATED_LEFT(a, 5) + e + w[i & 15];
        if (i < 20)
            next += (d ^ (b & (c ^ d))) + 0x5a827999;
        else if (i < 40)
            next += (b ^ c ^ d) + 0x6ed9eba1;
        else if (i < 60)
            next += ((b & c) | (d & (b | c))) + 0x8f1bbcdc;
        else
            next += (b ^ c ^ d) + 0xca62c1d6;
        e = d, d = c, c = ROTATED_LEFT(b, 30), b = a, a = next;
    }
    state[0] = before[0] + a, state[1] = before[1] + b, state[2] = before[2] + c;
    state[3] = before[3] + d, state[4] = before[4] + e;
}

/* Makes the HMAC of five words in their place. All that PBKDF2 asks for has this length: a salt with its number, and
 * an HMAC.
 *
 * @inner, @outer: the states behind the block that the password makes. */
TARGET static void authenticate(lanes message[5], const lanes inner[5], const lanes outer[5])
{
    const lanes zero = {0};
    lanes block[16];
    for (int i = 0; i < 16; i++)
        block[i] = zero;
    block[5] = zero + 0x80000000;
    block[15] = zero + 8 * (BLOCK + 20); /* bits, with the block before */
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < 5; i++)
            block[i] = message[i];
        take(message, half ? outer : inner, block);
    }
}

TARGET static void derive(const uint8_t *password, size_t length, const uint8_t *salts, size_t count, uint8_t *keys)
{
    const lanes zero = {0};
    const lanes start[5] = {
        zero + 0x67452301, zero + 0xefcdab89, zero + 0x98badcfe, zero + 0x10325476, zero + 0xc3d2e1f0,
    };
    lanes padded[2][5]; /* inner and outer */
    for (int half = 0; half < 2; half++) {
        uint8_t bytes[BLOCK] = {0};
        lanes block[16];
        memcpy(bytes, password, length);
        for (int i = 0; i < 16; i++)
            block[i] = zero + (load_big_endian(bytes + 4 * i) ^ (half ? 0x5c5c5c5c : 0x36363636));
        take(padded[half], start, block);
    }
    for (size_t first = 0; first < count * BLOCKS; first += LANES) {
        lanes message[5] = {zero, zero, zero, zero, zero}, key[5] = {zero, zero, zero, zero, zero};
        for (size_t lane = 0; lane < LANES && first + lane < count * BLOCKS; lane++) {
            const uint8_t *salt = salts + (first + lane) / BLOCKS * SALT;
            for (int i = 0; i < 4; i++)
                message[i][lane] = load_big_endian(salt + 4 * i);
            message[4][lane] = (uint32_t)((first + lane) % BLOCKS) + 1;
        }
        for (int i = 0; i < ROUNDS; i++) {
            authenticate(message, padded[0], padded[1]);
            for (int j = 0; j < 5; j++)
                key[j] ^= message[j];
        }
        for (size_t lane = 0; lane < LANES && first + lane < count * BLOCKS; lane++) {
            uint8_t bytes[20];
            size_t place = (first + lane) % BLOCKS * sizeof bytes;
            for (int i = 0; i < 5; i++)
                store_big_endian(bytes + 4 * i, key[i][lane]);
            memcpy(keys + (first + lane) / BLOCKS * KEY + place, bytes, place + 20 <= KEY ? 20 : KEY - place);
        }
    }
}

#undef lanes
#undef take
#undef derive
#undef authenticate
#undef LANES
#undef TARGET

#endif
