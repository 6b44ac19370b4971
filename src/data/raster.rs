//! JPEG and PNG as arrays of bytes, and bringing them to another size.

use std::io::Cursor;

use png::Transformations;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The longest side of a picture that is read, and the most bytes it may take. What declares more is taken for damaged.
const LONGEST: usize = 1 << 14;
const LARGEST: usize = 1 << 29;

/// Rows of pixels, each of one byte (grey) or three (red, green, blue).
pub(super) struct Raster {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) channels: usize,
    pub(super) values: Vec<u8>,
}

impl Raster {
    /// Decodes a JPEG or a PNG, told by its first bytes. Transparency is ignored.
    pub(super) fn decode(content: &[u8]) -> Result<Raster, String> {
        if content.starts_with(&[0xff, 0xd8]) && !is_whole_jpeg(content) {
            return Err("a JPEG that ends early".into());
        }
        let decoded = match content {
            [0xff, 0xd8, 0xff, ..] => jpeg(content),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => png(content),
            _ => Err("it begins like neither".into()),
        };
        decoded.map_err(|what| format!("not a readable JPEG or PNG: {what}"))
    }

    /// Scales with a triangle filter as wide as the scale asks for (Pillow's and torchvision's "bilinear"): the columns,
    /// then the rows.
    pub(super) fn scaled(&self, width: usize, height: usize) -> Raster {
        if (width, height) == (self.width, self.height) {
            return Raster { values: self.values.clone(), ..*self };
        }
        let (channels, row) = (self.channels, self.width * self.channels);
        let columns = filters(self.width, width);
        let mut values = Vec::with_capacity(width * height * channels);
        let mut mixed = vec![0f32; row];
        for Filter { first, weights } in filters(self.height, height) {
            mixed.fill(0.0);
            for (source, weight) in self.values[first * row..].chunks_exact(row).zip(&weights) {
                mixed.iter_mut().zip(source).for_each(|(m, &v)| *m += f32::from(v) * weight);
            }
            for Filter { first, weights } in &columns {
                for channel in 0..channels {
                    let from = mixed[first * channels + channel..].iter().step_by(channels);
                    let sum = from.zip(weights).fold(0.0, |sum, (v, weight)| sum + v * weight);
                    values.push(sum.clamp(0.0, 255.0).round() as u8);
                }
            }
        }
        Raster { width, height, channels, values }
    }

    /// Its channels one after the other, of `width` x `height` pixels from its centre.
    pub(super) fn centre_planes(&self, width: usize, height: usize) -> Vec<u8> {
        let (left, top) = ((self.width - width) / 2, (self.height - height) / 2);
        let mut planes = Vec::with_capacity(width * height * self.channels);
        for channel in 0..self.channels {
            for row in self.values.chunks_exact(self.width * self.channels).skip(top).take(height) {
                planes.extend(row.iter().skip(left * self.channels + channel).step_by(self.channels).take(width));
            }
        }
        planes
    }
}

/// Where a scaled pixel comes from along an axis: `weights.len()` pixels from `first` on.
struct Filter {
    first: usize,
    weights: Vec<f32>,
}

/// The filters of all pixels of an axis that is scaled.
fn filters(from: usize, to: usize) -> Vec<Filter> {
    let ratio = from as f32 / to as f32;
    let reach = ratio.max(1.0);
    let filter = |i: usize| {
        let centre = (i as f32 + 0.5) * ratio;
        let first = ((centre - reach).floor().max(0.0) as usize).min(from - 1);
        let end = ((centre + reach).ceil() as usize).clamp(first + 1, from);
        // A pixel's centre is half a pixel from its edge.
        let mut weights: Vec<f32> =
            (first..end).map(|i| (1.0 - ((i as f32 - (centre - 0.5)) / reach).abs()).max(0.0)).collect();
        let sum = weights.iter().fold(0.0, |sum, w| sum + w);
        weights.iter_mut().for_each(|w| *w /= sum);
        Filter { first, weights }
    };
    (0..to).map(filter).collect()
}

/// Fails where a picture is larger than any that is read.
fn check_size(width: usize, height: usize, channels: usize) -> Result<(), String> {
    match width.max(height) <= LONGEST && width * height * channels <= LARGEST {
        true => Ok(()),
        false => Err(format!("{width} x {height} pixels are too many")),
    }
}

fn jpeg(content: &[u8]) -> Result<Raster, String> {
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(LONGEST).set_max_height(LONGEST);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(content), options);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions().ok_or("it has no size")?;
    let (space, channels) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (ColorSpace::Luma, 1),
        _ => (ColorSpace::RGB, 3),
    };
    check_size(width, height, channels)?;
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let values = decoder.decode().map_err(|e| e.to_string())?;
    Ok(Raster { width, height, channels, values })
}

/// Whether an end marker comes after the last scan. The decoder fills up with grey what is missing, without a word. Markers
/// don't occur in a scan's data; a thumbnail's come before the picture's.
fn is_whole_jpeg(content: &[u8]) -> bool {
    let (scan, end) = ([0xff, 0xda], [0xff, 0xd9]);
    let last = content.windows(2).rfind(|pair| *pair == scan || *pair == end);
    last.is_some_and(|pair| pair == end)
}

fn png(content: &[u8]) -> Result<Raster, String> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(content), png::Limits { bytes: LARGEST });
    // Palettes become colours, and fewer than eight bits become eight.
    decoder.set_transformations(Transformations::EXPAND);
    let (width, height) = decoder.read_header_info().map_err(|e| e.to_string())?.size();
    let (width, height) = (width as usize, height as usize);
    check_size(width, height, 1)?;
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    let (colour, depth) = reader.output_color_type();
    let bytes = reader.output_buffer_size().filter(|&n| n <= LARGEST).ok_or("it is too large")?;
    let mut samples = vec![0; bytes];
    reader.next_frame(&mut samples).map_err(|e| e.to_string())?;
    if depth == png::BitDepth::Sixteen {
        let narrow = |pair: &[u8; 2]| ((u32::from(u16::from_be_bytes(*pair)) + 128) / 257) as u8;
        samples = samples.as_chunks().0.iter().map(narrow).collect();
    }
    let (channels, alpha) = match colour {
        png::ColorType::Grayscale => (1, 0),
        png::ColorType::GrayscaleAlpha => (1, 1),
        png::ColorType::Rgb => (3, 0),
        png::ColorType::Rgba => (3, 1),
        png::ColorType::Indexed => return Err("a palette without colours".into()),
    };
    let values = match alpha {
        0 => samples,
        _ => samples.chunks_exact(channels + alpha).flat_map(|pixel| &pixel[..channels]).copied().collect(),
    };
    Ok(Raster { width, height, channels, values })
}
