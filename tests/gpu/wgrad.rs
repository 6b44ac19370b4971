//! Convolution wgrad.
