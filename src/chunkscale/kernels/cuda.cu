// The CUDA kernels; chunkscale/kernels/cuda.py launches them and puts before this text:
//
//   T           type of a stored voxel (float16: its bits, as unsigned short)
//   F           type in which it is interpolated: float or double
//   S           type that holds the sum of 8 voxels
//   LOW, HIGH   range of T, for integers
//   IS_FLOAT, IS_HALF, IS_WIDE (integers of 64 bit), SIGN (lowest int64 if T is uint64, else 0)
//   SCALE       power of two that makes terms smaller where their sum is not finite
//
// Every operation is rounded on its own, in the order of chunkscale/kernels/reference.py; the
// intrinsics keep the compiler from contracting them. Offsets that can pass 2^31 are 64 bits wide.

#define LANES 32
#define ROWS 8
#define COLUMNS 4  // of a thread, LANES apart: enough independent work to hide the loads

// --- arithmetic -------------------------------------------------------------------------------

// CuPy lets the compiler flush the smallest floats to zero; what is written in PTX stays.
#define FLOAT_OPERATION(name, instruction)                                                       \
    __device__ __forceinline__ float name(float a, float b) {                                    \
        float result;                                                                            \
        asm(instruction " %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));                         \
        return result;                                                                           \
    }
FLOAT_OPERATION(add, "add.rn.f32")
FLOAT_OPERATION(sub, "sub.rn.f32")
FLOAT_OPERATION(mul, "mul.rn.f32")
__device__ __forceinline__ double add(double a, double b) { return __dadd_rn(a, b); }
__device__ __forceinline__ double sub(double a, double b) { return __dsub_rn(a, b); }
__device__ __forceinline__ double mul(double a, double b) { return __dmul_rn(a, b); }

__device__ __forceinline__ double widen(float number) {
    double result;
    asm("cvt.f64.f32 %0, %1;" : "=d"(result) : "f"(number));
    return result;
}
__device__ __forceinline__ double widen(double number) { return number; }
__device__ __forceinline__ float narrow(double number, float) {
    float result;
    asm("cvt.rn.f32.f64 %0, %1;" : "=f"(result) : "d"(number));
    return result;
}
__device__ __forceinline__ double narrow(double number, double) { return number; }
__device__ __forceinline__ float narrow(float number, float) { return number; }

// By their bits: what compilers know of numbers is left out.
__device__ __forceinline__ bool is_odd(float number) {
    return (__float_as_uint(number) & 0x7f800000u) == 0x7f800000u;
}
__device__ __forceinline__ bool is_odd(double number) {
    return (__double2hiint(number) & 0x7ff00000) == 0x7ff00000;
}
__device__ __forceinline__ bool is_nan(float number) {
    return (__float_as_uint(number) & 0x7fffffffu) > 0x7f800000u;
}
__device__ __forceinline__ bool is_nan(double number) {
    return (__double_as_longlong(number) & 0x7fffffffffffffffll) > 0x7ff0000000000000ll;
}
__device__ __forceinline__ bool is_negative(float number) { return __float_as_int(number) < 0; }
__device__ __forceinline__ bool is_negative(double number) { return __double2hiint(number) < 0; }
__device__ __forceinline__ float nan_of(float) { return __int_as_float(0x7fc00000); }
__device__ __forceinline__ double nan_of(double) {
    return __longlong_as_double(0x7ff8000000000000ll);
}
__device__ __forceinline__ float highest(float) { return __int_as_float(0x7f7fffff); }
__device__ __forceinline__ double highest(double) {
    return __longlong_as_double(0x7fefffffffffffffll);
}
__device__ __forceinline__ float smallest(float) { return __int_as_float(0x00800000); }
__device__ __forceinline__ double smallest(double) {
    return __longlong_as_double(0x0010000000000000ll);
}

// Return a sum of terms that were made smaller by SCALE: clamped if they were finite.
template <typename N>
__device__ __forceinline__ N unscaled(N total) {
    N result = mul(total, (N)(1 / SCALE));
    if (is_odd(total) || !is_odd(result)) return result;
    return is_negative(total) ? -highest(N()) : highest(N());
}

__device__ __forceinline__ F lerp(F a, F b, F w) {
    F result = add(a, mul(w, sub(b, a)));
#if IS_FLOAT || IS_HALF
    if (is_odd(result)) {
        F keep = sub((F)1, w);
        if (keep == 0) keep = smallest(F());
        result = unscaled(add(mul(mul(a, (F)SCALE), keep), mul(mul(b, (F)SCALE), w)));
    }
#endif
    return result;
}

#if IS_HALF
__device__ __forceinline__ float value(T bits) {
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(bits));
    return result;
}
__device__ __forceinline__ T nearest_half(float number) {
    T bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(number));
    return bits;
}
__device__ __forceinline__ T nearest_half(double number) {
    T bits;
    asm("cvt.rn.f16.f64 %0, %1;" : "=h"(bits) : "d"(number));
    return bits;
}
template <typename N>
__device__ __forceinline__ T stored(N number) {
    if (is_nan(number)) return 0x7e00;
    T bits = nearest_half(number);
    // What is finite stays so.
    return (bits & 0x7fff) == 0x7c00 && !is_odd(number) ? bits - 1 : bits;
}
#elif IS_FLOAT
__device__ __forceinline__ F value(T number) { return number; }
template <typename N>
__device__ __forceinline__ T stored(N number) {
    return is_nan(number) ? nan_of(T()) : narrow(number, T());
}
#elif IS_WIDE
__device__ __forceinline__ F value(T number) { return (F)number; }
__device__ __forceinline__ T stored(F number) {
    // As a double HIGH is one more than it is, and too high to be converted.
    number = rint(number);
    return number >= (F)HIGH ? HIGH : number <= (F)LOW ? LOW : (T)number;
}
#else
__device__ __forceinline__ F value(T number) { return (F)number; }
// These conversions round half to even and saturate.
__device__ __forceinline__ T stored(float number) {
    return (T)max((int)LOW, min((int)HIGH, __float2int_rn(number)));
}
__device__ __forceinline__ T stored(double number) {
    return (T)max((long long)LOW, min((long long)HIGH, __double2ll_rn(number)));
}
#endif

// --- where a thread works ---------------------------------------------------------------------

struct Place {
    int x, y, z;  // first column, row, and part of the depth
};

// Blocks are numbered x first: one grid axis, which takes any size.
__device__ __forceinline__ Place place(int width, int ny, int nx) {
    unsigned across = (nx + width - 1) / width, down = (ny + ROWS - 1) / ROWS;
    unsigned rest = blockIdx.x / across;
    Place here;
    here.x = (blockIdx.x % across) * width + threadIdx.x;
    here.y = (rest % down) * ROWS + threadIdx.y;
    here.z = rest / down;
    return here;
}

// --- linear -----------------------------------------------------------------------------------

// Interpolate this thread's columns of one source plane along x, then y.
__device__ __forceinline__ void fill_plane(
    F* plane, const T* __restrict__ source, long long row, F w_y, const int* x, const F* w_x) {
#pragma unroll
    for (int v = 0; v < COLUMNS; v++) {
        F a = value(source[x[v]]);
        F mixed = lerp(a, value(source[x[v] + (w_x[v] != 0)]), w_x[v]);
        plane[v] = w_x[v] == 0 ? a : mixed;
    }
    if (w_y == 0) return;
    source += row;
#pragma unroll
    for (int v = 0; v < COLUMNS; v++) {
        F a = value(source[x[v]]);
        F mixed = lerp(a, value(source[x[v] + (w_x[v] != 0)]), w_x[v]);
        plane[v] = lerp(plane[v], w_x[v] == 0 ? a : mixed, w_y);
    }
}

// A thread walks down a part of the depth and holds its columns of the two source planes around.
extern "C" __global__ void __launch_bounds__(LANES * ROWS) linear(
    const T* __restrict__ block, T* __restrict__ out, int nz, int ny, int nx, int depth,
    long long block_plane, long long block_row, const int* __restrict__ z_first,
    const int* __restrict__ y_first, const int* __restrict__ x_first,
    const F* __restrict__ z_weight, const F* __restrict__ y_weight,
    const F* __restrict__ x_weight) {
    Place here = place(LANES * COLUMNS, ny, nx);
    if (here.y >= ny) return;
    int x[COLUMNS];
    F w_x[COLUMNS];
#pragma unroll
    for (int v = 0; v < COLUMNS; v++) {
        int i = min(here.x + v * LANES, nx - 1);
        x[v] = x_first[i];
        w_x[v] = x_weight[i];
    }
    F w_y = y_weight[here.y];
    const T* source = block + y_first[here.y] * block_row;
    int start = here.z * depth, stop = min(start + depth, nz);
    T* target = out + ((long long)start * ny + here.y) * nx;
    F near[COLUMNS], far[COLUMNS];
    int held = -2;  // the source plane in `near`
    bool has_far = false;
    for (int k = start; k < stop; k++, target += (long long)ny * nx) {
        int z = z_first[k];
        F w = z_weight[k];
        if (z != held) {
            if (z == held + 1 && has_far) {
#pragma unroll
                for (int v = 0; v < COLUMNS; v++) near[v] = far[v];
            } else {
                fill_plane(near, source + z * block_plane, block_row, w_y, x, w_x);
            }
            held = z;
            has_far = false;
        }
        if (w != 0 && !has_far) {
            fill_plane(far, source + (z + 1) * block_plane, block_row, w_y, x, w_x);
            has_far = true;
        }
#pragma unroll
        for (int v = 0; v < COLUMNS; v++) {
            int i = here.x + v * LANES;
            if (i < nx) target[i] = stored(w == 0 ? near[v] : lerp(near[v], far[v], w));
        }
    }
}

// --- nearest ----------------------------------------------------------------------------------

extern "C" __global__ void __launch_bounds__(LANES * ROWS) pick(
    const T* __restrict__ block, T* __restrict__ out, int nz, int ny, int nx, int depth,
    long long block_plane, long long block_row, const int* __restrict__ z_first,
    const int* __restrict__ y_first, const int* __restrict__ x_first) {
    Place here = place(LANES * COLUMNS, ny, nx);
    if (here.y >= ny) return;
    int x[COLUMNS];
#pragma unroll
    for (int v = 0; v < COLUMNS; v++) x[v] = x_first[min(here.x + v * LANES, nx - 1)];
    const T* source = block + y_first[here.y] * block_row;
    int start = here.z * depth, stop = min(start + depth, nz);
    T* target = out + ((long long)start * ny + here.y) * nx;
    for (int k = start; k < stop; k++, target += (long long)ny * nx) {
        const T* plane = source + z_first[k] * block_plane;
#pragma unroll
        for (int v = 0; v < COLUMNS; v++) {
            int i = here.x + v * LANES;
            if (i < nx) target[i] = plane[x[v]];
        }
    }
}

// --- any table, one axis after the other --------------------------------------------------------

__device__ __forceinline__ F compute(T number, bool) { return value(number); }
__device__ __forceinline__ F compute(F number, int) { return number; }
__device__ __forceinline__ void put(T* out, F number, bool) { *out = stored(number); }
__device__ __forceinline__ void put(F* out, F number, int) { *out = number; }

// Interpolate the middle axis of (outer, n_in, inner). `Read` and `Write` are bool where the
// voxels are stored ones, int where they are in the compute type.
template <typename Read, typename Write, typename In, typename Out>
__device__ __forceinline__ void along(
    const In* __restrict__ in, Out* __restrict__ out, long long size, int n_in, int n_out,
    long long inner, const int* __restrict__ first, const F* __restrict__ weight, int taps) {
    long long step = (long long)gridDim.x * blockDim.x;
    for (long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x; at < size; at += step) {
        long long rest = at / inner;
        int target = rest % n_out;
        const In* source = in + ((rest / n_out) * n_in + first[target]) * inner + at % inner;
        F total;
        if (taps == 1) {
            F w = weight[target];
            total = compute(source[0], Read());
            if (w != 0) total = lerp(total, compute(source[inner], Read()), w);
        } else {
            total = (F)-0.0;  // the one number that never changes what is added to it
            for (int tap = 0; tap < taps; tap++) {
                F w = weight[(long long)target * taps + tap];
                if (w != 0) total = add(total, mul(w, compute(source[tap * inner], Read())));
            }
#if IS_FLOAT || IS_HALF
            if (is_odd(total)) {
                total = (F)-0.0;
                for (int tap = 0; tap < taps; tap++) {
                    F w = weight[(long long)target * taps + tap];
                    if (w == 0) continue;
                    F voxel = mul(compute(source[tap * inner], Read()), (F)SCALE);
                    total = add(total, mul(w, voxel));
                }
                total = unscaled(total);
            }
#endif
        }
        put(out + at, total, Write());
    }
}

#define ALONG(name, In, Read, Out, Write)                                                        \
    extern "C" __global__ void name(                                                             \
        const In* in, Out* out, long long size, int n_in, int n_out, long long inner,            \
        const int* first, const F* weight, int taps) {                                           \
        along<Read, Write>(in, out, size, n_in, n_out, inner, first, weight, taps);              \
    }
ALONG(along_x, T, bool, F, int)
ALONG(along_y, F, int, F, int)
ALONG(along_z, F, int, T, bool)

#if IS_WIDE
// Put back the targets that are source voxels: a double does not hold all 64-bit integers.
extern "C" __global__ void restore(
    const T* __restrict__ block, T* __restrict__ out, int nz, int ny, int nx,
    long long block_plane, long long block_row, const int* __restrict__ z_first,
    const int* __restrict__ y_first, const int* __restrict__ x_first,
    const unsigned char* __restrict__ z_exact, const unsigned char* __restrict__ y_exact,
    const unsigned char* __restrict__ x_exact) {
    Place here = place(LANES, ny, nx);
    if (here.y >= ny || here.x >= nx) return;
    int k = here.z;
    if (z_exact[k] && y_exact[here.y] && x_exact[here.x])
        out[((long long)k * ny + here.y) * nx + here.x] =
            block[z_first[k] * block_plane + y_first[here.y] * block_row + x_first[here.x]];
}
#endif

// --- the next level -----------------------------------------------------------------------------

// Call what follows for the voxels of a cell that exist: dz, dy and dx are 1 or 2.
#define FOR_CELL                                                                                 \
    _Pragma("unroll") for (int a = 0; a < 2; a++)                                                \
        _Pragma("unroll") for (int b = 0; b < 2; b++)                                            \
            _Pragma("unroll") for (int c = 0; c < 2; c++) if (a < dz && b < dy && c < dx)

#if IS_FLOAT || IS_HALF
__device__ __forceinline__ double mean_of_scaled(
    const T* source, long long row, long long plane, int dz, int dy, int dx, double scale) {
    double total = 0;
#pragma unroll
    for (int a = 0; a < 2; a++) {
        if (a >= dz) break;
        double sum = 0;
#pragma unroll
        for (int b = 0; b < 2; b++) {
            if (b >= dy) break;
            const T* pair = source + a * plane + b * row;
            double cell = mul(widen(value(pair[0])), scale);
            if (dx == 2) cell = add(cell, mul(widen(value(pair[1])), scale));
            sum = b ? add(sum, cell) : cell;
        }
        total = a ? add(total, sum) : sum;
    }
    return mul(total, 1.0 / (dz * dy * dx));
}

__device__ __forceinline__ T mean_of(
    const T* source, long long row, long long plane, int dz, int dy, int dx) {
    double mean = mean_of_scaled(source, row, plane, dz, dy, dx, 1);
    if (is_odd(mean)) mean = unscaled(mean_of_scaled(source, row, plane, dz, dy, dx, SCALE));
    return stored(mean);
}
#else
// Return total / 2^shift, rounded half to even.
__device__ __forceinline__ S divided(S total, int shift) {
    if (!shift) return total;
    return (total + (((S)1 << shift) >> 1) - 1 + ((total >> shift) & 1)) >> shift;
}

__device__ __forceinline__ T mean_of(
    const T* source, long long row, long long plane, int dz, int dy, int dx) {
    int shift = dz + dy + dx - 3;
#if IS_WIDE
    // Quotients and remainders: the sum of eight does not fit.
    S quotient = 0, remainder = 0;
    FOR_CELL {
        S number = (S)source[a * plane + b * row + c] ^ SIGN;
        quotient += number >> shift;
        remainder += number & (((S)1 << shift) - 1);
    }
    // What is rounded needs the parity of the whole: only an even part may stay out.
    S odd = quotient & 1;
    return (T)((quotient - odd + divided(remainder + (odd << shift), shift)) ^ SIGN);
#else
    S total = 0;
    FOR_CELL { total += (S)source[a * plane + b * row + c]; }
    return (T)divided(total, shift);
#endif
}
#endif

#if IS_FLOAT || IS_HALF
// Compared as doubles: the smallest floats are equal where they are flushed.
typedef double Number;
__device__ __forceinline__ double number_of(T bits) { return widen(value(bits)); }
__device__ __forceinline__ T bits_of(double number) { return stored(number); }
#else
typedef T Number;
__device__ __forceinline__ T number_of(T number) { return number; }
__device__ __forceinline__ T bits_of(T number) { return number; }
#endif

// The largest; NaN, which is larger than nothing, only where there is nothing else.
__device__ __forceinline__ T largest_of(
    const T* source, long long row, long long plane, int dz, int dy, int dx) {
    // Adding 0 turns -0.0 into 0.0.
    Number best = number_of(source[0]) + (Number)0;
    FOR_CELL {
        Number number = number_of(source[a * plane + b * row + c]) + (Number)0;
        if (number > best || best != best) best = number;
    }
    return bits_of(best);
}

#define CELLS(name, of)                                                                          \
    extern "C" __global__ void __launch_bounds__(LANES * ROWS) name(                             \
        const T* __restrict__ block, T* __restrict__ out, int mz, int my, int mx, int nz,        \
        int ny, int nx, int fz, int fy, int fx) {                                                \
        Place here = place(LANES, ny, nx);                                                       \
        if (here.y >= ny || here.x >= nx) return;                                                \
        int z = here.z * fz, y = here.y * fy, x = here.x * fx;                                   \
        long long plane = (long long)my * mx;                                                    \
        out[((long long)here.z * ny + here.y) * nx + here.x] =                                   \
            of(block + z * plane + (long long)y * mx + x, mx, plane, min(fz, mz - z),            \
               min(fy, my - y), min(fx, mx - x));                                                \
    }
CELLS(mean, mean_of)
CELLS(maximum, largest_of)

// --- modes and maxima of cells of any size -------------------------------------------------------

// Of a cell: how many voxels equal a value, how many are larger, and the smallest of those.
struct Seen {
    long long equal, more;
    Number next;
};

// Look at a cell, of which each of `Lanes` threads sees a part. With `all` every number is taken
// to be larger than the value. NaN is neither equal nor larger.
template <int Lanes>
__device__ __forceinline__ Seen look(
    const T* source, long long row, long long plane, int dz, int dy, int dx, Number value,
    bool all) {
    Seen seen = {0, 0, value};
    for (int a = 0; a < dz; a++)
        for (int b = 0; b < dy; b++) {
            const T* voxels = source + a * plane + b * row;
            for (int c = Lanes > 1 ? threadIdx.x : 0; c < dx; c += Lanes) {
                // Adding 0 turns -0.0 into 0.0.
                Number number = number_of(voxels[c]) + (Number)0;
                if (all ? number == number : number > value) {
                    if (!seen.more || number < seen.next) seen.next = number;
                    seen.more++;
                } else {
                    seen.equal += number == value;
                }
            }
        }
    for (int apart = Lanes / 2; apart > 0; apart /= 2) {
        long long more = __shfl_xor_sync(0xffffffffu, seen.more, apart);
        Number next = __shfl_xor_sync(0xffffffffu, seen.next, apart);
        if (more && (!seen.more || next < seen.next)) seen.next = next;
        seen.more += more;
        seen.equal += __shfl_xor_sync(0xffffffffu, seen.equal, apart);
    }
    return seen;
}

// The smallest of the most frequent; NaN only where there is nothing else. Values are counted
// from the smallest on, as long as those that are left can be more frequent than the best.
template <int Lanes>
__device__ __forceinline__ T mode_of(
    const T* source, long long row, long long plane, int dz, int dy, int dx) {
    Number best = number_of(source[0]) + (Number)0;
    long long most = 0;
    Seen seen = look<Lanes>(source, row, plane, dz, dy, dx, best, true);
    while (seen.more > most) {
        Number value = seen.next;
        seen = look<Lanes>(source, row, plane, dz, dy, dx, value, false);
        if (seen.equal > most) {
            best = value;
            most = seen.equal;
        }
    }
    return bits_of(best);
}

// The largest, of which each of `Lanes` threads finds that of a part; NaN only where there is
// nothing else.
template <int Lanes>
__device__ __forceinline__ T maximum_of(
    const T* source, long long row, long long plane, int dz, int dy, int dx) {
    // Adding 0 turns -0.0 into 0.0.
    Number best = number_of(source[0]) + (Number)0;
    for (int a = 0; a < dz; a++)
        for (int b = 0; b < dy; b++) {
            const T* voxels = source + a * plane + b * row;
            for (int c = Lanes > 1 ? threadIdx.x : 0; c < dx; c += Lanes) {
                Number number = number_of(voxels[c]) + (Number)0;
                if (number > best || best != best) best = number;
            }
        }
    for (int apart = Lanes / 2; apart > 0; apart /= 2) {
        Number number = __shfl_xor_sync(0xffffffffu, best, apart);
        if (number > best || best != best) best = number;
    }
    return bits_of(best);
}

#define OF_CELL(of, Lanes, k, j, i)                                                              \
    of<Lanes>(                                                                                   \
        block + z_first[k] * block_plane + y_first[j] * block_row + x_first[i], block_row,       \
        block_plane, z_size[k], y_size[j], x_size[i])

// A thread for each cell, or a warp, where its rows are long.
#define OF_CELLS(name, of)                                                                       \
    extern "C" __global__ void __launch_bounds__(LANES * ROWS) name(                             \
        const T* __restrict__ block, T* __restrict__ out, int nz, int ny, int nx,                \
        long long block_plane, long long block_row, const int* __restrict__ z_first,             \
        const int* __restrict__ y_first, const int* __restrict__ x_first,                        \
        const int* __restrict__ z_size, const int* __restrict__ y_size,                          \
        const int* __restrict__ x_size) {                                                        \
        Place here = place(LANES, ny, nx);                                                       \
        if (here.y >= ny || here.x >= nx) return;                                                \
        out[((long long)here.z * ny + here.y) * nx + here.x] =                                   \
            OF_CELL(of, 1, here.z, here.y, here.x);                                              \
    }                                                                                            \
    extern "C" __global__ void __launch_bounds__(LANES * ROWS) name##_of_large(                  \
        const T* __restrict__ block, T* __restrict__ out, int nz, int ny, int nx,                \
        long long block_plane, long long block_row, const int* __restrict__ z_first,             \
        const int* __restrict__ y_first, const int* __restrict__ x_first,                        \
        const int* __restrict__ z_size, const int* __restrict__ y_size,                          \
        const int* __restrict__ x_size) {                                                        \
        long long at = (long long)blockIdx.x * ROWS + threadIdx.y, plane = (long long)ny * nx;   \
        if (at >= nz * plane) return;                                                            \
        int k = at / plane, j = at % plane / nx, i = at % nx;                                    \
        T taken = OF_CELL(of, LANES, k, j, i);                                                   \
        if (threadIdx.x == 0) out[at] = taken;                                                   \
    }
OF_CELLS(modes, mode_of)
OF_CELLS(maxima, maximum_of)
