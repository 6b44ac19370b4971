//! The norms that bound perturbations.

crate::named::named! {
    /// Norm that bounds a perturbation.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Norm {
        /// The largest change of a pixel.
        Linf = "linf",
        /// The Euclidean length over pixels and channels.
        L2 = "l2",
    }
}

impl Norm {
    /// What the names of its kernels end with.
    pub(crate) fn suffix(self) -> &'static str {
        self.name()
    }
}
