// Grids, blocks and shared memory of several shapes.
//
// coordinates: grid and block of one to three dimensions; every thread writes at its linear index (x fastest, blocks
//   before threads) eight words: threadIdx, blockIdx, its lane (%laneid) and the block's thread count. out[8 * threads]
//   u32.
// transpose: y[j][i] = x[i][j], f32, x[rows][cols]. Grid (ceil(cols/32), ceil(rows/32)), block (32, 8). Static shared
//   tile padded to 33 columns. Exact.
// box_sum: y[i] = sum of x[i - r .. i + r] inside the array, f32, summed upwards from 0.0f. Dynamic shared memory of
//   (blockDim.x + 2r) floats plus a static word: the block's count of elements in range, written to counts[block].
//   Grid covers n once, block any size, r >= 0.
// volume: y = x shifted by (1, 2, 3) with wrap-around in a volume (nz, ny, nx) of f32, x fastest. Grid and block 3-D
//   that cover it.
// big_shared: dynamic shared memory of `words` u32 (may exceed 48 KiB where opted in): fills it with i*i, then out[t] =
//   xor of the words t, t + B, ... of its mirror image (words - 1 - i). Grid 1, block any size.

extern "C" __global__ void coordinates(unsigned *__restrict__ out) {
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const unsigned size = blockDim.x * blockDim.y * blockDim.z;
    const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    unsigned lane;
    asm("mov.u32 %0, %%laneid;" : "=r"(lane));
    unsigned *o = out + 8 * (block * size + thread);
    o[0] = threadIdx.x;
    o[1] = threadIdx.y;
    o[2] = threadIdx.z;
    o[3] = blockIdx.x;
    o[4] = blockIdx.y;
    o[5] = blockIdx.z;
    o[6] = lane;
    o[7] = size;
}

extern "C" __global__ void transpose(const float *__restrict__ x, float *__restrict__ y, int rows, int cols) {
    __shared__ float tile[32][33];
    const int col = blockIdx.x * 32 + threadIdx.x;
    for (int r = threadIdx.y; r < 32; r += 8) {
        const int row = blockIdx.y * 32 + r;
        if (row < rows && col < cols) tile[r][threadIdx.x] = x[row * cols + col];
    }
    __syncthreads();
    const int out_col = blockIdx.y * 32 + threadIdx.x;
    for (int r = threadIdx.y; r < 32; r += 8) {
        const int out_row = blockIdx.x * 32 + r;
        if (out_row < cols && out_col < rows) y[out_row * rows + out_col] = tile[threadIdx.x][r];
    }
}

extern "C" __global__ void box_sum(const float *__restrict__ x, float *__restrict__ y, int *__restrict__ counts, int r,
                                   int n) {
    extern __shared__ float window[];
    __shared__ int count;
    const int start = blockIdx.x * blockDim.x, i = start + threadIdx.x;
    if (threadIdx.x == 0) count = 0;
    for (int w = threadIdx.x; w < blockDim.x + 2 * r; w += blockDim.x) {
        const int j = start + w - r;
        window[w] = j >= 0 && j < n ? x[j] : 0.0f;
    }
    __syncthreads();
    if (i < n) {
        float sum = 0.0f;
        for (int w = 0; w <= 2 * r; ++w) sum += window[threadIdx.x + w];
        y[i] = sum;
        atomicAdd(&count, 1);
    }
    __syncthreads();
    if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

extern "C" __global__ void volume(const float *__restrict__ x, float *__restrict__ y, int nx, int ny, int nz) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, j = blockIdx.y * blockDim.y + threadIdx.y,
              k = blockIdx.z * blockDim.z + threadIdx.z;
    if (i >= nx || j >= ny || k >= nz) return;
    y[(k * ny + j) * nx + i] = x[((k + 3) % nz * ny + (j + 2) % ny) * nx + (i + 1) % nx];
}

extern "C" __global__ void big_shared(unsigned *__restrict__ out, int words) {
    extern __shared__ unsigned filled[];
    for (int i = threadIdx.x; i < words; i += blockDim.x) filled[i] = i * i;
    __syncthreads();
    unsigned r = 0;
    for (int i = threadIdx.x; i < words; i += blockDim.x) r ^= filled[words - 1 - i];
    out[threadIdx.x] = r;
}
