//! Data and pictures.

use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes `NAME.csv` and draws `NAME.png` from it by these lines of gnuplot, in which `DATA` stands for the file.
pub fn publish(folder: &Path, name: &str, csv: &str, plot: &str) -> Result<()> {
    let data = folder.join(format!("{name}.csv"));
    fs::write(&data, csv).with_context(|| data.display().to_string())?;
    draw(folder, name, plot)
}

/// Draws `NAME.png` from `NAME.csv`.
pub fn draw(folder: &Path, name: &str, plot: &str) -> Result<()> {
    let (data, picture) = (folder.join(format!("{name}.csv")), folder.join(format!("{name}.png")));
    let mut gnuplot = Command::new("gnuplot")
        .stdin(Stdio::piped())
        .spawn()
        .context("starting gnuplot; `cargo xtask setup` installs it")?;
    let script = format!(
        "set terminal pngcairo size 900,600 font ',12'\nset output '{}'\nset datafile separator ','\n\
         set key autotitle columnhead\nset grid\n{}\n",
        picture.display(),
        plot.replace("DATA", &format!("'{}'", data.display()))
    );
    gnuplot.stdin.take().context("no way to gnuplot")?.write_all(script.as_bytes())?;
    if !gnuplot.wait()?.success() {
        bail!("gnuplot cannot draw {}", picture.display());
    }
    println!("{} and {}", data.display(), picture.display());
    Ok(())
}
