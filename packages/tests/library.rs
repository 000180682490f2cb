//! The package for applications in C has what a compiler needs, where `pkg-config` looks for it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use backdoors_packages::{Package, Release};
use std::path::{Path, PathBuf};
use std::process::Command;

/// For each library a program that uses it where no agent is.
const PROGRAMS: [(&str, &str); 2] = [
    (
        "backdoors-application-sensors",
        "#include <stdio.h>\n#include <backdoors.h>\n\
         int main(void) {\n\
             if (backdoors_attach(\"/nonexistent/socket\", \"shop\", NULL, 0, 0)) return 1;\n\
             puts(backdoors_error());\n\
             return 0;\n\
         }\n",
    ),
    (
        "backdoors-sessions",
        "#include <stdio.h>\n#include <backdoors-sessions.h>\n\
         int main(void) {\n\
             if (!backdoors_service_attach(\"/nonexistent/socket\", \"shop\")) return 1;\n\
             puts(\"unprotected\");\n\
             return 0;\n\
         }\n",
    ),
];

/// The libraries that were built along with this test.
fn built() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().into()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn programs_in_c_are_built_by_what_pkg_config_says_of_the_installed_libraries() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let release = Release { workspace, built: &built(), version: "1.0" };
    let package = Package::Library.write(&release, folder.path()).unwrap();
    let root = folder.path().join("root");
    run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&root));
    for (library, source) in PROGRAMS {
        let (file, program) = (folder.path().join("program.c"), folder.path().join(library));
        std::fs::write(&file, source).unwrap();
        let mut asked = Command::new("pkg-config");
        asked.args(["--cflags", "--libs", library]).env("PKG_CONFIG_SYSROOT_DIR", &root);
        asked.env("PKG_CONFIG_PATH", root.join("usr/lib/x86_64-linux-gnu/pkgconfig"));
        let options = run(&mut asked);
        run(Command::new("cc").arg("-o").arg(&program).arg(&file).args(options.split_whitespace()));
        assert!(!run(&mut Command::new(&program)).is_empty(), "{library}");
    }
}
