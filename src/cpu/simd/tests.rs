use super::*;

/// Every operation on lanes that tell them apart, as (name, result) in a fixed order.
struct Ops([f32; 16], [f32; 16]);
impl Kernel for Ops {
    type Output = Vec<(&'static str, Vec<f32>)>;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let mut out = Vec::new();
        // SAFETY: all pointers are to arrays of at least the lanes read or written.
        unsafe {
            let (a, b) = (s.load(self.0.as_ptr()), s.load(self.1.as_ptr()));
            let mut t = [0.0; 16];
            for (name, v) in [
                ("zero", s.zero()),
                ("splat", s.splat(3.5)),
                ("add", s.add(a, b)),
                ("sub", s.sub(a, b)),
                ("mul", s.mul(a, b)),
                ("div", s.div(a, b)),
                ("fma", s.fma(a, b, s.splat(2.0))),
                ("max", s.max(a, b)),
                ("min", s.min(a, b)),
                ("mask", s.mask(0b1010_0110_1100_0101, a)),
                ("load_part", s.load_part(self.0.as_ptr(), 5)),
                ("sums", s.sums(&[a, b, a, a, b, b, a, b, a, a, a, b, b, b, a, b])),
            ] {
                s.store(t.as_mut_ptr(), v);
                out.push((name, t.to_vec()));
            }
            let mut part = [9.0; 16];
            s.store_part(part.as_mut_ptr(), a, 7);
            out.push(("store_part", part.to_vec()));
            out.push(("positive", vec![f32::from(s.positive(a))]));
            out.push(("sum", vec![s.sum(a)]));
            let mut t = [0.0; 16];
            for o in (0..16).step_by(S::REG) {
                let (x, y) = (s.r_load(self.0.as_ptr().add(o)), s.r_load(self.1.as_ptr().add(o)));
                let r = s.r_sub(s.r_fma(x, y, s.r_splat(1.0)), s.r_add(x, y));
                s.r_store(t.as_mut_ptr().add(o), r);
            }
            let mut rows = [s.r_splat(0.0); 16];
            for (i, row) in rows.iter_mut().enumerate().take(S::REG) {
                *row = s.r_splat((i * 4 * 16 / S::REG) as f32 / S::REG as f32);
            }
            let mut sums = [0.0; 16];
            s.r_store(sums.as_mut_ptr(), s.r_sums(&rows));
            // Sixteen times the row's number, whatever the register's length.
            out.push(("r_sums", (0..4).map(|i| sums[i * S::REG / 4]).collect()));
            out.push(("registers", t.to_vec()));
        }
        out
    }
}

#[test]
fn levels_agree_exactly_on_small_integers() {
    // Small integers (and quotients by powers of two) are exact in any order of operations.
    let a: [f32; 16] = std::array::from_fn(|i| [-3.0, 0.0, 5.0, -0.0, 7.0][i % 5] + (i / 5) as f32);
    let b: [f32; 16] = std::array::from_fn(|i| [4.0, -2.0, 1.0][i % 3]);
    let want = Level::Portable.run(Ops(a, b));
    assert_eq!(want[2].1[1], a[1] + b[1]);
    assert_eq!(want[11].1[1], b.iter().sum::<f32>());
    for level in Level::all_supported() {
        assert_eq!(level.run(Ops(a, b)), want, "{level}");
    }
}

#[test]
fn nan_is_not_positive_and_extrema_take_the_second() {
    struct Nan;
    impl Kernel for Nan {
        type Output = (u16, f32, f32);
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let (n, one) = (s.splat(f32::NAN), s.splat(1.0));
            (s.positive(n), s.sum(s.max(n, one)), s.sum(s.min(n, one)))
        }
    }
    for level in Level::all_supported() {
        assert_eq!(level.run(Nan), (0, 16.0, 16.0), "{level}");
    }
}
