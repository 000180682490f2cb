//! A picture of a screen, as SVG: what `tmux capture-pane -e` tells, drawn in a font of the reader's own.

use std::fmt::Write;

/// Of one character, in the picture's units.
const WIDTH: f64 = 8.4;
const HEIGHT: usize = 18;
const MARGIN: usize = 10;
const PAPER: &str = "#1b1e22";
const INK: &str = "#d4d7da";
/// The first sixteen colours, which each terminal chooses for itself.
const NAMED: [&str; 16] = [
    "#2e3436", "#cc4444", "#5f9f3f", "#c4a000", "#5f87d7", "#a070b0", "#3f9f9f", "#d3d7cf", "#6c7073",
    "#ef5350", "#8ae234", "#fce94f", "#82aaff", "#c792ea", "#34e2e2", "#ffffff",
];

/// How a character looks.
#[derive(Clone, Default, PartialEq)]
struct Look {
    ink: Option<String>,
    paper: Option<String>,
    bold: bool,
    dim: bool,
    underlined: bool,
    reversed: bool,
}

/// The picture of a screen with its escape sequences.
///
/// # Panics
/// If there are some that this does not know: the picture would not be of that screen.
pub fn of(screen: &str, columns: usize) -> String {
    let rows: Vec<&str> = screen.trim_end_matches('\n').split('\n').collect();
    let (width, height) =
        ((columns as f64 * WIDTH).ceil() as usize + 2 * MARGIN, rows.len() * HEIGHT + 2 * MARGIN);
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\"\n  \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"{PAPER}\"/>\n"
    );
    let mut look = Look::default();
    for (row, line) in rows.iter().enumerate() {
        let mut column = 0;
        for (nth, piece) in line.split('\u{1b}').enumerate() {
            let text = if nth == 0 { piece } else { change(&mut look, piece) };
            draw(&mut picture, &look, text, column, row);
            column += text.chars().count();
        }
    }
    picture + "</svg>\n"
}

/// Takes in a sequence, without its first character, and returns what comes behind it.
fn change<'text>(look: &mut Look, piece: &'text str) -> &'text str {
    let (numbers, text) = piece
        .strip_prefix('[')
        .and_then(|piece| piece.split_once('m'))
        .unwrap_or_else(|| panic!("`{piece}` begins with no colour or style"));
    let mut numbers = numbers.split(';').map(|number| number.parse().unwrap_or(0));
    while let Some(number) = numbers.next() {
        match number {
            0 => *look = Look::default(),
            1 => look.bold = true,
            2 => look.dim = true,
            4 => look.underlined = true,
            7 => look.reversed = true,
            22 => (look.bold, look.dim) = (false, false),
            24 => look.underlined = false,
            27 => look.reversed = false,
            30..=37 => look.ink = Some(colour(number - 30)),
            38 => look.ink = Some(indexed(&mut numbers)),
            39 => look.ink = None,
            40..=47 => look.paper = Some(colour(number - 40)),
            48 => look.paper = Some(indexed(&mut numbers)),
            49 => look.paper = None,
            90..=97 => look.ink = Some(colour(number - 82)),
            100..=107 => look.paper = Some(colour(number - 92)),
            _ => panic!("style {number} is not known"),
        }
    }
    text
}

fn indexed(numbers: &mut impl Iterator<Item = usize>) -> String {
    assert_eq!(numbers.next(), Some(5), "a colour without a number");
    colour(numbers.next().unwrap())
}

/// A colour of the 256 that terminals agree on.
fn colour(number: usize) -> String {
    let level = |step: usize| if step == 0 { 0 } else { 55 + 40 * step };
    match number {
        0..16 => NAMED[number].to_owned(),
        16..232 => {
            let number = number - 16;
            format!("#{:02x}{:02x}{:02x}", level(number / 36), level(number / 6 % 6), level(number % 6))
        }
        _ => {
            let grey = 8 + 10 * (number - 232);
            format!("#{grey:02x}{grey:02x}{grey:02x}")
        }
    }
}

/// Draws characters that look the same.
fn draw(picture: &mut String, look: &Look, text: &str, column: usize, row: usize) {
    let (mut ink, mut paper) = (look.ink.as_deref().unwrap_or(INK), look.paper.as_deref().unwrap_or(PAPER));
    if look.reversed {
        (ink, paper) = (paper, ink);
    }
    let place = |column: usize| MARGIN as f64 + column as f64 * WIDTH;
    let (top, width) = (MARGIN + row * HEIGHT, text.chars().count() as f64 * WIDTH);
    if paper != PAPER && width > 0.0 {
        let left = place(column);
        writeln!(
            picture,
            "<rect x=\"{left:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{HEIGHT}\" fill=\"{paper}\"/>"
        )
        .unwrap();
    }
    let words = text.trim();
    if words.is_empty() {
        return;
    }
    let left = place(column + text.chars().take_while(|character| *character == ' ').count());
    // The length keeps columns in line, whatever font there is.
    write!(
        picture,
        "<text xml:space=\"preserve\" x=\"{left:.1}\" y=\"{}\" textLength=\"{:.1}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{ink}\"",
        top + HEIGHT - 5,
        words.chars().count() as f64 * WIDTH
    )
    .unwrap();
    for (is_so, attribute) in [
        (look.bold, " font-weight=\"bold\""),
        (look.dim, " opacity=\"0.65\""),
        (look.underlined, " text-decoration=\"underline\""),
    ] {
        picture.push_str(if is_so { attribute } else { "" });
    }
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(picture, ">{words}</text>").unwrap();
}
