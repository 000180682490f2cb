//! Compiles the kernel half.

use std::ffi::OsString;
use std::path::PathBuf;
use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?);
    let include = root.join("../sensor-box/include");
    let mut arguments: Vec<OsString> =
        ["-mcpu=v3", "-Wall", "-Werror", "-Wno-address-of-packed-member", "-I"].map(OsString::from).to_vec();
    arguments.push(include.clone().into());
    // Debian keeps <asm/types.h> in a directory that clang does not search when it compiles for bpf.
    let multiarch = PathBuf::from(format!("/usr/include/{}-linux-gnu", env::var("CARGO_CFG_TARGET_ARCH")?));
    if multiarch.is_dir() {
        arguments.extend([OsString::from("-I"), multiarch.into()]);
    }
    let object = out.join("kernel_half.bpf.o");
    libbpf_cargo::SkeletonBuilder::new()
        .source(root.join("bpf/kernel_half.bpf.c"))
        .obj(&object)
        .clang_args(arguments)
        .build()?;
    println!("cargo::rerun-if-changed={}", root.join("bpf").display());
    println!("cargo::rerun-if-changed={}", include.display());
    Ok(())
}
