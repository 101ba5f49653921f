//! The bars as a PNG: sixteen colours at most, deflated, nothing but the chunks that must be there.

use bewit_plugin::{Bars, Tone};

use crate::font::{HEIGHT, WIDTH, glyph};

/// Pixels from left to right, an even number.
const ACROSS: usize = 640;
/// Pixels of a bar with its gap.
const LINE: usize = 24;
/// Pixels around everything.
const EDGE: usize = 8;
/// Pixels for each dot of a letter.
const DOT: usize = 2;
/// Letters of a label.
const LABEL: usize = 19;
/// Letters of a value.
const VALUE: usize = 10;
/// From the left edge of one letter to that of the next.
const STEP: usize = (WIDTH + 1) * DOT;

const PAPER: u8 = 0;
const INK: u8 = 1;
const TRACK: u8 = 2;

/// Red, green, blue of each colour.
const PALETTE: [[u8; 3]; 7] = [
    [0xff, 0xff, 0xff],
    [0x22, 0x27, 0x2e],
    [0xe6, 0xe9, 0xed],
    [0x3b, 0x6e, 0xb5],
    [0x2e, 0x8b, 0x57],
    [0xd0, 0x8a, 0x10],
    [0xc0, 0x39, 0x2b],
];

fn colour(tone: Tone) -> u8 {
    match tone {
        Tone::Neutral => 3,
        Tone::Good => 4,
        Tone::Warning => 5,
        Tone::Danger => 6,
    }
}

/// A picture, a byte for each pixel.
struct Canvas {
    down: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    fn fill(&mut self, (left, top): (usize, usize), (width, height): (usize, usize), colour: u8) {
        for line in self.pixels.chunks_exact_mut(ACROSS).skip(top).take(height) {
            for pixel in line.iter_mut().skip(left).take(width) {
                *pixel = colour;
            }
        }
    }

    fn write(&mut self, (left, top): (usize, usize), text: &str) {
        for (place, c) in text.chars().enumerate() {
            for (column, bits) in glyph(c).into_iter().enumerate() {
                for row in (0..HEIGHT).filter(|row| bits >> row & 1 == 1) {
                    let at = (left + place * STEP + column * DOT, top + row * DOT);
                    self.fill(at, (DOT, DOT), INK);
                }
            }
        }
    }

    fn png(&self) -> Vec<u8> {
        let mut lines = Vec::with_capacity(self.pixels.len() / 2 + self.down);
        for line in self.pixels.chunks_exact(ACROSS) {
            // Each line begins with its filter: none.
            lines.push(0);
            lines.extend(line.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, pixel| byte << 4 | pixel)));
        }
        let mut header = Vec::new();
        header.extend(u32::try_from(ACROSS).unwrap_or_default().to_be_bytes());
        header.extend(u32::try_from(self.down).unwrap_or_default().to_be_bytes());
        // Four bits a pixel, a palette, and the only compression, filters and order there are.
        header.extend([4, 3, 0, 0, 0]);
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        chunk(&mut png, *b"IHDR", &header);
        chunk(&mut png, *b"PLTE", PALETTE.as_flattened());
        chunk(&mut png, *b"IDAT", &miniz_oxide::deflate::compress_to_vec_zlib(&lines, 6));
        chunk(&mut png, *b"IEND", &[]);
        png
    }
}

fn chunk(png: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    png.extend(u32::try_from(data.len()).unwrap_or_default().to_be_bytes());
    png.extend(kind);
    png.extend(data);
    png.extend(crc(kind.iter().chain(data)).to_be_bytes());
}

/// The check sum of a chunk.
fn crc<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// The picture of a chart, with its width and height in pixels.
pub(crate) fn draw(bars: &Bars) -> (Vec<u8>, (u32, u32)) {
    let down = 2 * EDGE + LINE * bars.items.len();
    let mut canvas = Canvas { down, pixels: vec![PAPER; ACROSS * down] };
    let left = EDGE + LABEL * STEP + EDGE;
    let across = ACROSS - left - VALUE * STEP - 2 * EDGE;
    for (number, bar) in bars.items.iter().enumerate() {
        let top = EDGE + number * LINE;
        let text = top + (LINE - HEIGHT * DOT) / 2;
        canvas.write((EDGE, text), &cut(&bar.label, LABEL));
        canvas.fill((left, top + 3), (across, LINE - 6), TRACK);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "between 0 and the width of the picture"
        )]
        let length = ((bar.value / bars.maximum).clamp(0.0, 1.0) * across as f64).round() as usize;
        // Something is more than nothing.
        let length = if bar.value > 0.0 { length.max(1) } else { length };
        canvas.fill((left, top + 3), (length, LINE - 6), colour(bar.tone));
        canvas.write((left + across + EDGE, text), &cut(&bar.text, VALUE));
    }
    let size = (u32::try_from(ACROSS).unwrap_or_default(), u32::try_from(down).unwrap_or_default());
    (canvas.png(), size)
}

/// The beginning of a text that is too long, with dots after it.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 2).chain("..".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_sums_are_those_of_the_standard() {
        assert_eq!(crc(b"IEND".iter()), 0xae42_6082);
    }

    #[test]
    fn the_picture_can_be_read_back() {
        let bars = Bars::new("", 100.0)
            .bar("/", 87.0, "87%", Tone::Warning)
            .bar("/home and a long name", 100.0, "100%", Tone::Danger)
            .bar("é", 0.0, "0%", Tone::Neutral);
        let (png, (width, height)) = draw(&bars);
        assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
        // Length, kind, data and check sum, one chunk after the other, to the last byte.
        let (mut rest, mut kinds, mut data) = (&png[8..], Vec::new(), Vec::new());
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let kind = std::str::from_utf8(&rest[4..8]).unwrap().to_owned();
            if kind == "IDAT" {
                data = rest[8..8 + length].to_vec();
            }
            assert_eq!(crc(rest[4..8 + length].iter()).to_be_bytes(), rest[8 + length..12 + length]);
            kinds.push(kind);
            rest = &rest[12 + length..];
        }
        assert_eq!(kinds, ["IHDR", "PLTE", "IDAT", "IEND"]);
        let lines = miniz_oxide::inflate::decompress_to_vec_zlib(&data).unwrap();
        assert_eq!(lines.len(), height as usize * (1 + width as usize / 2));
        assert!(width <= 1_200 && height <= 1_200);
        // How much of each bar's middle line has its colour.
        let filled = |bar: usize, colour: u8| {
            let line = EDGE + bar * LINE + LINE / 2;
            let line = &lines[line * (1 + ACROSS / 2)..][1..=ACROSS / 2];
            line.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter(|pixel| *pixel == colour).count()
        };
        let full = filled(1, colour(Tone::Danger));
        let most = filled(0, colour(Tone::Warning));
        assert!(full > 150, "{full}");
        assert!((most * 100).abs_diff(full * 87) < 100, "{most} of {full}");
        assert_eq!(filled(2, colour(Tone::Neutral)), 0);
    }

    #[test]
    fn as_many_bars_as_there_may_be_are_not_too_high() {
        let bars =
            (0..crate::MOST_DRAWN).fold(Bars::new("", 1.0), |bars, n| bars.bar(n.to_string(), 1.0, "", Tone::Good));
        assert!(draw(&bars).1.1 <= 1_200);
    }
}
