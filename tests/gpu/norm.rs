//! Batch norm: folding, and fprop and bprop of train mode.
