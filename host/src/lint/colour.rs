//! Colours as mails write them, and how far two of them are apart (WCAG 2.1).

/// Red, green and blue from 0 to 255, and how much covers what is below, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Colour {
    pub(super) rgb: [u8; 3],
    pub(super) alpha: f32,
}

impl Colour {
    pub(super) const BLACK: Self = Self { rgb: [0; 3], alpha: 1.0 };
    pub(super) const WHITE: Self = Self { rgb: [255; 3], alpha: 1.0 };
    pub(super) const CLEAR: Self = Self { rgb: [0; 3], alpha: 0.0 };

    /// A colour of CSS; `None`: not known, or depends on something.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if let Some(digits) = text.strip_prefix('#') {
            return hexadecimal(digits);
        }
        if text == "transparent" {
            return Some(Self::CLEAR);
        }
        if let Some((name, inner)) = text.split_once('(') {
            return function(name, inner.strip_suffix(')')?);
        }
        let mut names = NAMES.split_ascii_whitespace();
        while let (Some(name), Some(value)) = (names.next(), names.next()) {
            if name == text {
                return hexadecimal(value);
            }
        }
        None
    }

    /// A colour of an old attribute (`bgcolor`), where the `#` is often left out.
    pub(super) fn parse_attribute(text: &str) -> Option<Self> {
        let bare = text.trim();
        if bare.len() == 6 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return hexadecimal(bare);
        }
        Self::parse(bare)
    }

    /// What is seen where this lies over `below`.
    pub(super) fn over(self, below: Self) -> Self {
        let mix = |own: u8, other: u8| {
            let mixed = f32::from(own) * self.alpha + f32::from(other) * (1.0 - self.alpha);
            // Between 0 and 255: both colours are.
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the value is between 0 and 255"
            )]
            let rounded = mixed.round() as u8;
            rounded
        };
        let ([r, g, b], [x, y, z]) = (self.rgb, below.rgb);
        Self { rgb: [mix(r, x), mix(g, y), mix(b, z)], alpha: 1.0 }
    }

    /// Relative luminance, 0 to 1.
    fn luminance(self) -> f32 {
        let [red, green, blue] = self.rgb.map(|channel| {
            let part = f32::from(channel) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// Contrast, 1 to 21.
    pub(super) fn contrast(self, other: Self) -> f32 {
        let (own, other) = (self.luminance(), other.luminance());
        (own.max(other) + 0.05) / (own.min(other) + 0.05)
    }

    /// `#rrggbb`.
    pub(super) fn hex(self) -> String {
        let [red, green, blue] = self.rgb;
        format!("#{red:02x}{green:02x}{blue:02x}")
    }
}

fn hexadecimal(digits: &str) -> Option<Colour> {
    let values: Option<Vec<u8>> = digits.chars().map(|c| u8::try_from(c.to_digit(16)?).ok()).collect();
    let (rgb, alpha) = match *values?.as_slice() {
        [r, g, b] => ([r * 17, g * 17, b * 17], 255),
        [r, g, b, a] => ([r * 17, g * 17, b * 17], a * 17),
        [r, s, g, h, b, c] => ([r * 16 + s, g * 16 + h, b * 16 + c], 255),
        [r, s, g, h, b, c, a, d] => ([r * 16 + s, g * 16 + h, b * 16 + c], a * 16 + d),
        _ => return None,
    };
    Some(Colour { rgb, alpha: f32::from(alpha) / 255.0 })
}

/// `rgb()` and `rgba()`, with commas or blanks.
fn function(name: &str, inner: &str) -> Option<Colour> {
    if !["rgb", "rgba"].contains(&name.trim()) {
        return None;
    }
    let parts: Vec<&str> =
        inner.split(|c: char| c == ',' || c == '/' || c.is_whitespace()).filter(|part| !part.is_empty()).collect();
    let number = |part: &str, whole: f32| -> Option<f32> {
        let value = match part.strip_suffix('%') {
            Some(percent) => percent.parse::<f32>().ok()? / 100.0 * whole,
            None => part.parse::<f32>().ok()?,
        };
        value.is_finite().then_some(value.clamp(0.0, whole))
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value is between 0 and 255")]
    let channel = |part: &str| number(part, 255.0).map(|value| value.round() as u8);
    match *parts.as_slice() {
        [r, g, b] => Some(Colour { rgb: [channel(r)?, channel(g)?, channel(b)?], alpha: 1.0 }),
        [r, g, b, a] => Some(Colour { rgb: [channel(r)?, channel(g)?, channel(b)?], alpha: number(a, 1.0)? }),
        _ => None,
    }
}

/// The named colours of CSS Color Level 4.
const NAMES: &str = "
aliceblue f0f8ff antiquewhite faebd7 aqua 00ffff aquamarine 7fffd4 azure f0ffff beige f5f5dc bisque ffe4c4 black 000000
blanchedalmond ffebcd blue 0000ff blueviolet 8a2be2 brown a52a2a burlywood deb887 cadetblue 5f9ea0 chartreuse 7fff00
chocolate d2691e coral ff7f50 cornflowerblue 6495ed cornsilk fff8dc crimson dc143c cyan 00ffff darkblue 00008b
darkcyan 008b8b darkgoldenrod b8860b darkgray a9a9a9 darkgreen 006400 darkgrey a9a9a9 darkkhaki bdb76b
darkmagenta 8b008b darkolivegreen 556b2f darkorange ff8c00 darkorchid 9932cc darkred 8b0000 darksalmon e9967a
darkseagreen 8fbc8f darkslateblue 483d8b darkslategray 2f4f4f darkslategrey 2f4f4f darkturquoise 00ced1
darkviolet 9400d3 deeppink ff1493 deepskyblue 00bfff dimgray 696969 dimgrey 696969 dodgerblue 1e90ff
firebrick b22222 floralwhite fffaf0 forestgreen 228b22 fuchsia ff00ff gainsboro dcdcdc ghostwhite f8f8ff gold ffd700
goldenrod daa520 gray 808080 green 008000 greenyellow adff2f grey 808080 honeydew f0fff0 hotpink ff69b4
indianred cd5c5c indigo 4b0082 ivory fffff0 khaki f0e68c lavender e6e6fa lavenderblush fff0f5 lawngreen 7cfc00
lemonchiffon fffacd lightblue add8e6 lightcoral f08080 lightcyan e0ffff lightgoldenrodyellow fafad2 lightgray d3d3d3
lightgreen 90ee90 lightgrey d3d3d3 lightpink ffb6c1 lightsalmon ffa07a lightseagreen 20b2aa lightskyblue 87cefa
lightslategray 778899 lightslategrey 778899 lightsteelblue b0c4de lightyellow ffffe0 lime 00ff00 limegreen 32cd32
linen faf0e6 magenta ff00ff maroon 800000 mediumaquamarine 66cdaa mediumblue 0000cd mediumorchid ba55d3
mediumpurple 9370db mediumseagreen 3cb371 mediumslateblue 7b68ee mediumspringgreen 00fa9a mediumturquoise 48d1cc
mediumvioletred c71585 midnightblue 191970 mintcream f5fffa mistyrose ffe4e1 moccasin ffe4b5 navajowhite ffdead
navy 000080 oldlace fdf5e6 olive 808000 olivedrab 6b8e23 orange ffa500 orangered ff4500 orchid da70d6
palegoldenrod eee8aa palegreen 98fb98 paleturquoise afeeee palevioletred db7093 papayawhip ffefd5 peachpuff ffdab9
peru cd853f pink ffc0cb plum dda0dd powderblue b0e0e6 purple 800080 rebeccapurple 663399 red ff0000 rosybrown bc8f8f
royalblue 4169e1 saddlebrown 8b4513 salmon fa8072 sandybrown f4a460 seagreen 2e8b57 seashell fff5ee sienna a0522d
silver c0c0c0 skyblue 87ceeb slateblue 6a5acd slategray 708090 slategrey 708090 snow fffafa springgreen 00ff7f
steelblue 4682b4 tan d2b48c teal 008080 thistle d8bfd8 tomato ff6347 turquoise 40e0d0 violet ee82ee wheat f5deb3
white ffffff whitesmoke f5f5f5 yellow ffff00 yellowgreen 9acd32";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read() {
        for (text, hex) in [
            ("#FFF", "#ffffff"),
            ("#0a58a8", "#0a58a8"),
            ("rgb(10, 88, 168)", "#0a58a8"),
            ("rgb(10 88 168 / 50%)", "#0a58a8"),
            ("rgba(100%,0%,0%,1)", "#ff0000"),
            ("RebeccaPurple", "#663399"),
            ("#0008", "#000000"),
        ] {
            assert_eq!(Colour::parse(text).unwrap().hex(), hex, "{text}");
        }
        for text in ["", "#12345", "var(--x)", "hsl(1 2% 3%)", "currentcolor", "rgb(1,2)", "rgb(nan,1,1)", "#ééé"] {
            assert_eq!(Colour::parse(text), None, "{text}");
        }
        assert_eq!(Colour::parse_attribute("00FF00").unwrap().hex(), "#00ff00");
    }

    #[test]
    fn contrast_is_that_of_the_guidelines() {
        assert!((Colour::BLACK.contrast(Colour::WHITE) - 21.0).abs() < 0.01);
        let grey = Colour::parse("#777777").unwrap();
        assert!((grey.contrast(Colour::WHITE) - 4.48).abs() < 0.01);
        let half = Colour { alpha: 0.5, ..Colour::BLACK };
        assert_eq!(half.over(Colour::WHITE).hex(), "#808080");
    }
}
