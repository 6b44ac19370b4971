// y = a x. Grid covers n once; x[n] input, y[n] output, f32.
extern "C" __global__ void scale(float a, const float *x, float *y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i];
}

// The same with a slip.
extern "C" __global__ void scale_slip(float a, const float *x, float *y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= n) y[i] = a * x[i];
}
