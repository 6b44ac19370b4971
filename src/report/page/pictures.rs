//! Images of a class beside what an attack made of them, as PNG data URIs.

use crate::ops::head::top;
use crate::program::Shape;
use crate::{Error, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// What a network says of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The class with the highest probability (ties: the lowest index).
    pub class: usize,
    /// That probability.
    pub confidence: f32,
}

impl Verdict {
    /// Of logits; at least one.
    pub fn of(logits: &[f32]) -> Verdict {
        let class = top(logits);
        let sum: f32 = logits.iter().map(|z| (z - logits[class]).exp()).sum();
        Verdict { class, confidence: 1.0 / sum }
    }
}

/// An image and what an attack made of it; pixels in [0, 1], CHW.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// As it is, and what the network says of it.
    pub clean: (Vec<f32>, Verdict),
    /// Attacked, and what the network says of it.
    pub attacked: (Vec<f32>, Verdict),
}

/// Images of one class under an attack.
#[derive(Debug, Clone, PartialEq)]
pub struct Pictures {
    /// The attack.
    pub attack: String,
    /// Its bound, pixels in [0, 1].
    pub eps: f32,
    /// The class.
    pub class: usize,
    /// Shape of an image.
    pub image: Shape,
    /// How many images of the class were attacked.
    pub attacked: usize,
    /// How many of them the network had right as they are.
    pub right_before: usize,
    /// How many of these under attack.
    pub right_after: usize,
    /// Those to show.
    pub pairs: Vec<Pair>,
}

impl Pictures {
    /// Takes up to `show` of these pairs of `class`: first those that the attack turned, then those that withstood,
    /// then those that were wrong before; each in their order.
    pub fn choose(attack: String, eps: f32, class: usize, image: Shape, pairs: Vec<Pair>, show: usize) -> Pictures {
        let right = |v: &Verdict| v.class == class;
        let kind = |p: &Pair| match (right(&p.clean.1), right(&p.attacked.1)) {
            (true, false) => 0,
            (true, true) => 1,
            (false, _) => 2,
        };
        let right_before = pairs.iter().filter(|p| kind(p) < 2).count();
        let right_after = pairs.iter().filter(|p| kind(p) == 1).count();
        let attacked = pairs.len();
        let mut pairs = pairs;
        pairs.sort_by_key(kind);
        pairs.truncate(show);
        Pictures { attack, eps, class, image, attacked, right_before, right_after, pairs }
    }

    /// By how much differences are amplified: eps becomes half of the range.
    pub fn amplification(&self) -> f32 {
        if self.eps > 0.0 { 0.5 / self.eps } else { 1.0 }
    }

    /// A pair as data URIs of PNGs: the image, the attacked image, their difference amplified around grey.
    ///
    /// # Errors
    /// Where an image can't be encoded.
    pub fn uris(&self, pair: &Pair) -> Result<[String; 3]> {
        let (x, x_adv) = (&pair.clean.0, &pair.attacked.0);
        let by = self.amplification();
        let difference: Vec<f32> = x.iter().zip(x_adv).map(|(a, b)| 0.5 + by * (b - a)).collect();
        Ok([uri(x, self.image)?, uri(x_adv, self.image)?, uri(&difference, self.image)?])
    }
}

/// Three channels as colours; of any other number the mean, as grey.
fn uri(pixels: &[f32], Shape { c, h, w }: Shape) -> Result<String> {
    let byte = |v: f32| (v.clamp(0.0, 1.0) * 255.0).round() as u8;
    let at = |channel: usize, i: usize| pixels[channel * h * w + i];
    let (colour, bytes): (_, Vec<u8>) = if c == 3 {
        (png::ColorType::Rgb, (0..h * w).flat_map(|i| [0, 1, 2].map(|channel| byte(at(channel, i)))).collect())
    } else {
        let mean = |i| (0..c).map(|channel| at(channel, i)).sum::<f32>() / c as f32;
        (png::ColorType::Grayscale, (0..h * w).map(|i| byte(mean(i))).collect())
    };
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, w as u32, h as u32);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&bytes));
    written.map_err(|e| Error::Op { op: "report", what: format!("an image of {c}x{h}x{w} as PNG: {e}") })?;
    Ok(format!("data:image/png;base64,{}", BASE64_STANDARD.encode(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(uri: &str) -> (png::ColorType, Vec<u8>) {
        let bytes = BASE64_STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.color_type, pixels)
    }

    #[test]
    fn images_come_back_as_they_were() {
        let pixels: Vec<f32> = (0..12).map(|i| i as f32 / 11.0).collect();
        let bytes = |i: usize| (pixels[i] * 255.0).round() as u8;
        let (colour, found) = decode(&uri(&pixels, Shape { c: 3, h: 2, w: 2 }).unwrap());
        assert_eq!(colour, png::ColorType::Rgb);
        assert_eq!(found, [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11].map(bytes));
        let (colour, found) = decode(&uri(&pixels, Shape { c: 1, h: 3, w: 4 }).unwrap());
        assert_eq!(colour, png::ColorType::Grayscale);
        assert_eq!(found, (0..12).map(bytes).collect::<Vec<_>>());
        let (_, found) = decode(&uri(&[0.0, 1.0, 0.5, 1.0], Shape { c: 2, h: 1, w: 2 }).unwrap());
        assert_eq!(found, [64, 255]);
    }

    #[test]
    fn those_that_the_attack_turned_come_first() {
        let verdict = |class| Verdict { class, confidence: 0.5 };
        let pair = |from, to| Pair { clean: (vec![0.5], verdict(from)), attacked: (vec![0.6], verdict(to)) };
        let image = Shape { c: 1, h: 1, w: 1 };
        let pairs = vec![pair(0, 0), pair(1, 1), pair(1, 0), pair(0, 1), pair(1, 2)];
        let chosen = Pictures::choose("pgd-20".into(), 0.1, 1, image, pairs, 3);
        assert_eq!((chosen.attacked, chosen.right_before, chosen.right_after), (5, 3, 1));
        let shown: Vec<_> = chosen.pairs.iter().map(|p| (p.clean.1.class, p.attacked.1.class)).collect();
        assert_eq!(shown, [(1, 0), (1, 2), (1, 1)]);
        // eps is half of the range: 0.5 + 0.1 * 5.
        let [_, _, difference] = chosen.uris(&chosen.pairs[0]).unwrap();
        assert_eq!(decode(&difference).1, [255]);
    }

    #[test]
    fn verdicts() {
        assert_eq!(Verdict::of(&[1.0, 1.0]), Verdict { class: 0, confidence: 0.5 });
        let v = Verdict::of(&[-2.0, 500.0, 3.0]);
        assert_eq!((v.class, v.confidence), (1, 1.0));
    }
}
