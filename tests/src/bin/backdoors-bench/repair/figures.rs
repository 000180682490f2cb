//! The pictures of a useful program's time beside hostile ones.

use super::disturbed::Part;
use crate::picture;
use anyhow::Result;
use backdoors_tests::healing::disturbance::Hostile;
use std::path::Path;

/// Draws a part's picture from its data.
pub fn draw(folder: &Path, part: Part) -> Result<()> {
    let (title, sizes, swaps): (_, _, &[(bool, &str)]) = match part {
        Part::Hog => (
            "A useful program beside memory hogs (figure 3.14 of the thesis)",
            "processes of the hog",
            &[(false, ", no swap space"), (true, ", swap space")],
        ),
        Part::Bomb => (
            "A useful program beside fork bombs (figure 3.13 of the thesis)",
            "processes of the bomb",
            &[(false, "")],
        ),
    };
    let panels = part.programs().map(|program| panel(program, sizes, swaps));
    let plot = format!(
        "set terminal pngcairo size 1200,620 font ',11'\nset key outside bottom center maxrows 5\nset logscale y\nset yrange [1:100]\n\
         set offsets graph 0.05, graph 0.05\nunset key\n\
         set multiplot layout 1,2 title '{title}'\n{}\nunset multiplot",
        panels.join("\n")
    );
    picture::draw(folder, part.name(), &plot)
}

fn panel(program: Hostile, sizes: &str, swaps: &[(bool, &str)]) -> String {
    let name = match program {
        Hostile::Hog => "a controller that respawns its children",
        Hostile::StressNg => "stress-ng --vm",
        Hostile::CpuBomb => "CPU-bound",
        Hostile::IoBomb => "I/O-bound",
    };
    let mut curves = vec![format!(
        "DATA using 2:(strcol(1) eq '{program}' ? $5 : NaN) smooth unique with lines lc 'black' dt 2 title 'undisturbed'"
    )];
    for (index, (swap, words)) in swaps.iter().enumerate() {
        let which = |help: &str| {
            let is_swap = if *swap { "$3 > 0" } else { "$3 == 0" };
            format!("strcol(1) eq '{program}' && {is_swap} && strcol(4) eq '{help}'")
        };
        let point = 4 + 2 * index;
        let (nobody, helped) = (which("nobody"), which("backdoors"));
        curves.extend([
            format!("DATA using 2:({nobody} && strlen(strcol(6)) ? $6 : NaN) with points pt {} ps 1.4 lc 'red' title 'without repair{words}'", point + 1),
            format!("DATA using 2:({nobody} && !strlen(strcol(6)) ? $10 : NaN) with points pt {} ps 2 lc 'red' title 'without repair{words}: not done yet'", if *swap { 8 } else { 9 }),
            format!("DATA using 2:({helped} ? $6 : NaN) with points pt {point} ps 1.4 lc 'blue' title 'with repair, in all{words}'"),
            format!("DATA using 2:({helped} ? $9 : NaN) with points pt {} ps 1.4 lc 'dark-green' title 'after the repair{words}'", point + 1),
        ]);
    }
    format!(
        "set key below maxrows 5\nset title '{name}'\nset xlabel '{sizes}'\nset ylabel 'time of the useful work, s'\nplot {}",
        curves.join(", ")
    )
}
