//! Compiles the eBPF program with which guests break their own kernels.

use std::ffi::OsString;
use std::path::PathBuf;
use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let mut arguments: Vec<OsString> = ["-mcpu=v3", "-Wall", "-Werror"].map(OsString::from).to_vec();
    // Debian keeps <asm/types.h> in a directory that clang does not search when it compiles for bpf.
    let multiarch = PathBuf::from(format!("/usr/include/{}-linux-gnu", env::var("CARGO_CFG_TARGET_ARCH")?));
    if multiarch.is_dir() {
        arguments.extend([OsString::from("-I"), multiarch.into()]);
    }
    let source = "src/vm/guest/hang.bpf.c";
    libbpf_cargo::SkeletonBuilder::new()
        .source(source)
        .obj(out.join("hang.bpf.o"))
        .clang_args(arguments)
        .build()?;
    println!("cargo::rerun-if-changed={source}");
    Ok(())
}
