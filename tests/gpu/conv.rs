//! Convolution fprop and dgrad, epilogues and shortcuts included.
