//! Makes `host/src/lint/support/support.tsv` of the data of caniemail.com, which the npm package `caniemail` carries
//! (both under the MIT License): what of HTML and CSS mail programs support, without the words that describe it.
//!
//! ```text
//! npm pack caniemail && tar xzf caniemail-*.tgz && cargo xtask support package/data/caniemail.json
//! ```

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::steps::root;

const OUT: &str = "host/src/lint/support/support.tsv";

/// Programs, in the order of the letters: family and platform as the data calls them.
const PROGRAMS: [(&str, &[&str]); 13] = [
    ("gmail", &["desktop-webmail"]),
    ("gmail", &["ios"]),
    ("gmail", &["android"]),
    ("outlook", &["windows"]),
    ("outlook", &["outlook-com"]),
    ("outlook", &["macos"]),
    ("outlook", &["ios"]),
    ("outlook", &["android"]),
    ("apple-mail", &["macos"]),
    ("apple-mail", &["ios"]),
    ("thunderbird", &["macos", "windows"]),
    ("yahoo", &["desktop-webmail"]),
    ("protonmail", &["desktop-webmail"]),
];

/// Features whose loss costs content, legibility or the layout, and how a mail uses them.
const WARNINGS: &[(&str, &str)] = &[
    ("css-at-import", "at:import"),
    ("css-conic-gradient", "function:conic-gradient"),
    ("css-display-flex", "value:display=flex value:display=inline-flex"),
    ("css-display-grid", "value:display=grid value:display=inline-grid"),
    ("css-float", "property:float"),
    ("css-function-clamp", "function:clamp"),
    ("css-function-light-dark", "function:light-dark"),
    ("css-function-max", "function:max"),
    ("css-function-min", "function:min"),
    ("css-left-right-top-bottom", "property:left property:right property:top property:bottom"),
    ("css-inset", "property:inset"),
    ("css-modern-color", "function:lch function:oklch function:lab function:oklab"),
    ("css-nesting", "css:nesting"),
    ("css-opacity", "property:opacity"),
    ("css-position", "property:position"),
    ("css-rgba", "function:rgba"),
    ("css-transform", "property:transform"),
    ("css-unit-calc", "function:calc"),
    ("css-variables", "css:variables function:var"),
    ("css-visibility", "property:visibility"),
    ("css-writing-mode", "property:writing-mode"),
    ("html-audio", "element:audio"),
    ("html-button-submit", "element:button"),
    ("html-dialog", "element:dialog"),
    ("html-form", "element:form"),
    ("html-hidden", "attribute:hidden"),
    ("html-input-checkbox", "element:input[checkbox]"),
    ("html-input-radio", "element:input[radio]"),
    ("html-input-submit", "element:input[submit]"),
    ("html-input-text", "element:input[text]"),
    ("html-link", "element:link"),
    ("html-marquee", "element:marquee"),
    ("html-meter", "element:meter"),
    ("html-object", "element:object"),
    ("html-picture", "element:picture"),
    ("html-progress", "element:progress"),
    ("html-select", "element:select"),
    ("html-srcset", "attribute:srcset"),
    ("html-svg", "element:svg"),
    ("html-textarea", "element:textarea"),
    ("html-video", "element:video"),
    ("image-avif", "image:image/avif"),
    ("image-base64", "image:data"),
    ("image-heif", "image:image/heif image:image/heic"),
    ("image-svg", "image:image/svg+xml"),
    ("image-tiff", "image:image/tiff"),
    ("image-webp", "image:image/webp"),
];

/// Features without which a mail is plainer. Not among them is what nobody misses: hints for the program (`color-scheme`),
/// and places where a word may break (`<wbr>`, `overflow-wrap`); `<bdi>` is there for those that know it.
const HINTS: &[(&str, &str)] = &[
    ("css-accent-color", "property:accent-color"),
    ("css-align-items", "property:align-items"),
    ("css-animation", "property:animation property:animation-name property:animation-duration"),
    ("css-aspect-ratio", "property:aspect-ratio"),
    ("css-at-font-face", "at:font-face"),
    ("css-at-keyframes", "at:keyframes"),
    ("css-at-media-device-pixel-ratio", "media:-webkit-device-pixel-ratio media:-webkit-min-device-pixel-ratio"),
    ("css-at-media-hover", "media:hover media:any-hover"),
    ("css-at-media-orientation", "media:orientation"),
    ("css-at-media-prefers-color-scheme", "media:prefers-color-scheme"),
    ("css-at-media-prefers-reduced-motion", "media:prefers-reduced-motion"),
    ("css-at-supports", "at:supports"),
    ("css-backdrop-filter", "property:backdrop-filter"),
    ("css-background-blend-mode", "property:background-blend-mode"),
    ("css-background-clip", "property:background-clip"),
    ("css-background-image", "property:background-image"),
    ("css-background-origin", "property:background-origin"),
    ("css-background-position", "property:background-position"),
    ("css-background-repeat", "property:background-repeat"),
    ("css-background-size", "property:background-size"),
    ("css-block-inline-size", "property:block-size"),
    ("css-border-image", "property:border-image property:border-image-source"),
    ("css-border-inline-block", "property:border-inline property:border-block"),
    ("css-border-radius", "property:border-radius"),
    ("css-border-spacing", "property:border-spacing"),
    ("css-box-shadow", "property:box-shadow"),
    ("css-box-sizing", "property:box-sizing"),
    ("css-caption-side", "property:caption-side"),
    ("css-clip-path", "property:clip-path"),
    ("css-column-count", "property:column-count property:columns"),
    ("css-cursor", "property:cursor"),
    ("css-empty-cells", "property:empty-cells"),
    ("css-filter", "property:filter"),
    ("css-flex-direction", "property:flex-direction"),
    ("css-flex-wrap", "property:flex-wrap"),
    ("css-font-kerning", "property:font-kerning"),
    ("css-font-stretch", "property:font-stretch"),
    ("css-gap", "property:gap property:column-gap property:row-gap"),
    ("css-grid-template", "property:grid-template property:grid-template-columns property:grid-template-rows"),
    ("css-hyphens", "property:hyphens"),
    ("css-inline-size", "property:inline-size"),
    ("css-intrinsic-size", "value:width=fit-content value:width=min-content value:width=max-content"),
    ("css-justify-content", "property:justify-content"),
    ("css-linear-gradient", "function:linear-gradient"),
    ("css-list-style-image", "property:list-style-image"),
    ("css-list-style-position", "property:list-style-position"),
    ("css-margin-block-start-end", "property:margin-block-start property:margin-block-end"),
    ("css-margin-inline-block", "property:margin-inline property:margin-block"),
    ("css-margin-inline-start-end", "property:margin-inline-start property:margin-inline-end"),
    ("css-mask-image", "property:mask-image property:mask"),
    ("css-max-height", "property:max-height"),
    ("css-min-height", "property:min-height"),
    ("css-min-width", "property:min-width"),
    ("css-mix-blend-mode", "property:mix-blend-mode"),
    ("css-object-fit", "property:object-fit"),
    ("css-object-position", "property:object-position"),
    ("css-outline", "property:outline"),
    ("css-outline-offset", "property:outline-offset"),
    ("css-overflow", "property:overflow"),
    ("css-padding-block-start-end", "property:padding-block-start property:padding-block-end"),
    ("css-padding-inline-block", "property:padding-inline property:padding-block"),
    ("css-padding-inline-start-end", "property:padding-inline-start property:padding-inline-end"),
    ("css-pseudo-class-active", "pseudo:active"),
    ("css-pseudo-class-checked", "pseudo:checked"),
    ("css-pseudo-class-first-child", "pseudo:first-child"),
    ("css-pseudo-class-first-of-type", "pseudo:first-of-type"),
    ("css-pseudo-class-focus", "pseudo:focus"),
    ("css-pseudo-class-has", "pseudo:has"),
    ("css-pseudo-class-hover", "pseudo:hover"),
    ("css-pseudo-class-last-child", "pseudo:last-child"),
    ("css-pseudo-class-last-of-type", "pseudo:last-of-type"),
    ("css-pseudo-class-not", "pseudo:not"),
    ("css-pseudo-class-nth-child", "pseudo:nth-child"),
    ("css-pseudo-class-nth-last-child", "pseudo:nth-last-child"),
    ("css-pseudo-class-nth-last-of-type", "pseudo:nth-last-of-type"),
    ("css-pseudo-class-nth-of-type", "pseudo:nth-of-type"),
    ("css-pseudo-class-only-child", "pseudo:only-child"),
    ("css-pseudo-class-only-of-type", "pseudo:only-of-type"),
    ("css-pseudo-class-target", "pseudo:target"),
    ("css-pseudo-class-visited", "pseudo:visited"),
    ("css-pseudo-element-after", "pseudo:after"),
    ("css-pseudo-element-before", "pseudo:before"),
    ("css-pseudo-element-first-letter", "pseudo:first-letter"),
    ("css-pseudo-element-first-line", "pseudo:first-line"),
    ("css-pseudo-element-marker", "pseudo:marker"),
    ("css-radial-gradient", "function:radial-gradient"),
    ("css-resize", "property:resize"),
    ("css-scroll-snap", "property:scroll-snap-type"),
    ("css-selector-adjacent-sibling", "selector:+"),
    ("css-selector-attribute", "selector:[]"),
    ("css-selector-child", "selector:>"),
    ("css-selector-general-sibling", "selector:~"),
    ("css-shape-outside", "property:shape-outside"),
    ("css-tab-size", "property:tab-size"),
    ("css-table-layout", "property:table-layout"),
    ("css-text-align-last", "property:text-align-last"),
    ("css-text-decoration-color", "property:text-decoration-color"),
    ("css-text-decoration-line", "property:text-decoration-line"),
    ("css-text-decoration-style", "property:text-decoration-style"),
    ("css-text-decoration-thickness", "property:text-decoration-thickness"),
    ("css-text-emphasis", "property:text-emphasis"),
    ("css-text-justify", "property:text-justify"),
    ("css-text-overflow", "property:text-overflow"),
    ("css-text-shadow", "property:text-shadow"),
    ("css-text-underline-offset", "property:text-underline-offset"),
    ("css-text-wrap", "property:text-wrap"),
    ("css-transition", "property:transition"),
    ("css-unit-ch", "unit:ch"),
    ("css-unit-rem", "unit:rem"),
    ("css-unit-vh", "unit:vh"),
    ("css-unit-vmax", "unit:vmax"),
    ("css-unit-vmin", "unit:vmin"),
    ("css-unit-vw", "unit:vw"),
    ("css-user-select", "property:user-select"),
    ("css-white-space", "property:white-space"),
    ("css-white-space-collapse", "property:white-space-collapse"),
    ("css-word-spacing", "property:word-spacing"),
    ("css-z-index", "property:z-index"),
    ("html-abbr", "element:abbr"),
    ("html-aria-describedby", "attribute:aria-describedby"),
    ("html-aria-hidden", "attribute:aria-hidden"),
    ("html-aria-label", "attribute:aria-label"),
    ("html-aria-labelledby", "attribute:aria-labelledby"),
    ("html-aria-live", "attribute:aria-live"),
    ("html-loading-attribute", "attribute:loading"),
    ("html-popover", "attribute:popover"),
    (
        "html-semantics",
        "element:article element:aside element:details element:figure element:footer element:header element:main \
         element:nav element:section element:summary",
    ),
];

/// Makes the file of this JSON.
pub(crate) fn write(json: &Path) -> Result<()> {
    let text = fs::read_to_string(json).with_context(|| json.display().to_string())?;
    let data: Value = serde_json::from_str(&text).with_context(|| json.display().to_string())?;
    let out = convert(&data)?;
    fs::write(root().join(OUT), out).context(OUT)
}

fn convert(data: &Value) -> Result<String> {
    let date = data["last_update_date"].as_str().and_then(|date| date.split(' ').next()).context("no date")?;
    let features = data["data"].as_array().context("no features")?;
    let mut out = String::new();
    for line in HEADER.lines() {
        let line = line.replace("DATE", date);
        writeln!(out, "{}", format!("# {line}").trim_end())?;
    }
    let lists = WARNINGS.iter().map(|one| ("warning", one)).chain(HINTS.iter().map(|one| ("hint", one)));
    for (severity, (slug, uses)) in lists {
        let Some(feature) = features.iter().find(|feature| feature["slug"] == *slug) else {
            bail!("the data has no {slug}: mend the lists in xtask/src/support.rs");
        };
        let letters: String = PROGRAMS.iter().map(|(family, platforms)| letter(feature, family, platforms)).collect();
        if !letters.contains('n') {
            println!("{slug}: every program supports it, at least in part; left out");
            continue;
        }
        let tested = feature["last_test_date"].as_str().and_then(|date| date.get(..7)).context("no test date")?;
        writeln!(out, "{slug}\t{severity}\t{tested}\t{letters}\t{uses}")?;
    }
    Ok(out)
}

/// The newest result of a program: `y`, `n`, `a` (in part) or `u` (unknown).
fn letter(feature: &Value, family: &str, platforms: &[&str]) -> char {
    let results = platforms.iter().find_map(|platform| feature["stats"].get(family)?.get(platform)?.as_object());
    let newest = results.and_then(|versions| versions.values().next_back()).and_then(Value::as_str);
    newest.and_then(|result| result.chars().next()).filter(|letter| "yna".contains(*letter)).unwrap_or('u')
}

const HEADER: &str = "\
What mail programs support of HTML and CSS. Made by `cargo xtask support`; not to be edited.
source: caniemail.com, as the npm package caniemail carries its data
date: DATE

Fields: id (that of caniemail.com), severity (ours), tested, a letter for each program (y yes, n no, a in part,
u unknown; order: Gmail web, iOS, Android; Outlook Windows, web and new, macOS, iOS, Android; Apple Mail macOS, iOS;
Thunderbird; Yahoo web; Proton web), what a mail uses (ours).

MIT License

Copyright (c) 2019 HTeuMeuLeu (caniemail.com)
Copyright (c) Avi Goldman, Andrew Powell (the package caniemail)

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the \"Software\"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
";
