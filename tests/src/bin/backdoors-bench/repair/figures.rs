//! The pictures of a useful program's time beside hostile ones.

use super::disturbed::Part;
use crate::picture;
use anyhow::Result;
use backdoors_tests::healing::disturbance::{Help, Hostile};
use std::path::Path;

/// Draws a part's picture from its data.
pub fn draw(folder: &Path, part: Part) -> Result<()> {
    let (title, sizes) = match part {
        Part::Hog => ("memory hogs (figure 3.14 of the thesis)", "processes of the hog"),
        Part::Bomb => ("fork bombs (figure 3.13 of the thesis)", "processes that the bomb may have"),
    };
    let panels = part.programs().map(|program| panel(part, program));
    let plot = format!(
        "set terminal pngcairo size 1200,700 font ',11'\nset logscale y\nset yrange [0.7:100]\n\
         set ytics (1, 2, 5, 10, 20, 50, 100)\nset offsets graph 0.05, graph 0.05\nset key below font ',9' spacing 0.9 width -6 maxrows 6\n\
         set xlabel '{sizes}'\nset ylabel 'time of the useful work, times its undisturbed time'\n\
         set multiplot layout 1,2 title 'A useful program beside {title}'\n{}\nunset multiplot",
        panels.join("\n")
    );
    picture::draw(folder, part.name(), &plot)
}

/// Columns of the data: 1 program, 2 size, 3 swap space, 4 help, 5 undisturbed, 6 disturbed, 7 done, 11 after.
fn panel(part: Part, program: Hostile) -> String {
    let name = match program {
        Hostile::Hog => "a controller that respawns its children",
        Hostile::StressNg => "stress-ng --vm",
        Hostile::CpuBomb => "CPU-bound",
        Hostile::IoBomb => "I/O-bound",
    };
    let mut curves = vec![
        "1 lc 'black' title 'undisturbed'".to_owned(),
        "1.2 lc 'black' dt 2 title 'a fifth more'".to_owned(),
    ];
    let words: &[&str] = if part.swaps().len() > 1 { &[", no swap", ", swap"] } else { &[""] };
    // Squares without swap space, circles with; gnuplot's odd numbers are the closed signs.
    for ((swap, words), (open, closed)) in part.swaps().iter().zip(words).zip([(4, 5), (6, 7)]) {
        let of = |help: Help, more: &str, column: u8| {
            let is_swap = if *swap { "$3 > 0" } else { "$3 == 0" };
            format!(
                "DATA using 2:(strcol(1) eq '{program}' && {is_swap} && strcol(4) eq '{help}'{more} ? ${column}/$5 : NaN)"
            )
        };
        let dash = if *swap { 2 } else { 1 };
        let (nobody, helped) = (of(Help::Nobody, "", 6), of(Help::Backdoors, "", 6));
        curves.extend([
            format!("{nobody} smooth unique with lines lc 'red' dt {dash} notitle"),
            format!(
                "{} with points pt {closed} lc 'red' title 'no repair{words}'",
                of(Help::Nobody, " && strcol(7) eq 'yes'", 6)
            ),
            format!(
                "{} with points pt {} ps 1.6 lc 'red' title 'no repair{words}: not done yet'",
                of(Help::Nobody, " && strcol(7) eq 'no'", 6),
                open + 4
            ),
            format!("{helped} smooth unique with lines lc 'blue' dt {dash} notitle"),
            format!(
                "{} with points pt 2 ps 1.6 lc 'blue' title 'repair{words}: not done yet'",
                of(Help::Backdoors, " && strcol(7) eq 'no'", 6)
            ),
            format!("{helped} with points pt {open} lc 'blue' title 'repair, in all{words}'"),
            format!(
                "{} with points pt {closed} lc 'dark-green' title 'after the repair{words}'",
                of(Help::Backdoors, "", 11)
            ),
        ]);
    }
    format!("set title '{name}'\nplot {}", curves.join(", "))
}
