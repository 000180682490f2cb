//! A terminal of its own for each test.

use super::daemon::Daemon;
use super::picture;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A tmux with `backdoors` in it; it ends with this.
pub struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    /// `backdoors top` with this daemon.
    pub fn of(daemon: &Daemon) -> Terminal {
        Terminal::with(daemon, &[])
    }

    /// The same with these variables.
    pub fn with(daemon: &Daemon, variables: &[(&str, &str)]) -> Terminal {
        Terminal::start(&format!("top --socket {}", daemon.socket().display()), variables)
    }

    /// `backdoors` with these arguments.
    pub fn start(arguments: &str, variables: &[(&str, &str)]) -> Terminal {
        let terminal = Terminal { folder: tempfile::tempdir().unwrap() };
        let variables: String = variables.iter().map(|(name, value)| format!("{name}={value} ")).collect();
        let program = env!("CARGO_BIN_EXE_backdoors");
        // A shell stays when it ends, so that what it said can be seen.
        let command = format!("env -u NO_COLOR {variables}{program} {arguments}; sleep 60");
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", &command]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = self.folder.path().join("tmux");
        let output = Command::new("tmux").arg("-S").arg(socket).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Types letters, or presses the key of this name.
    pub fn type_keys(&mut self, keys: &str) -> &mut Terminal {
        self.tmux(&["send-keys", keys]);
        self
    }

    pub fn resize(&mut self, columns: u32, rows: u32) -> &mut Terminal {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
        self
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// How many changes of colour there are on the screen.
    pub fn colours(&self) -> usize {
        self.tmux(&["capture-pane", "-p", "-e"]).matches("38;5;").count()
    }

    pub fn wait_for(&mut self, part: &str) -> &mut Terminal {
        self.wait_until(|text| text.contains(part))
    }

    pub fn wait_until(&mut self, is_so: impl Fn(&str) -> bool) -> &mut Terminal {
        let begun = Instant::now();
        loop {
            let text = self.text();
            if is_so(&text) {
                return self;
            }
            assert!(begun.elapsed() < PATIENCE, "the screen still is\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Compares the screen with what was kept under this name, once it is as that is, or has been otherwise for long.
    pub fn compare(&mut self, name: &str) -> &mut Terminal {
        self.compare_as(&format!("tests/top/screens/{name}.txt"), Terminal::text)
    }

    /// Compares the screen, with its colours, with the picture of this name in the documents.
    pub fn compare_picture(&mut self, name: &str) -> &mut Terminal {
        self.compare_as(&format!("../docs/pictures/{name}.svg"), |terminal| {
            let columns = terminal.tmux(&["display-message", "-p", "#{pane_width}"]);
            picture::of(&terminal.tmux(&["capture-pane", "-p", "-e"]), columns.trim().parse().unwrap())
        })
    }

    fn compare_as(&mut self, file: &str, look: impl Fn(&Terminal) -> String) -> &mut Terminal {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
        if std::env::var_os("UPDATE_SCREENS").is_some() {
            // It may still be drawn.
            std::thread::sleep(Duration::from_millis(700));
            std::fs::write(&path, look(self)).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let begun = Instant::now();
        while look(self) != kept {
            assert!(begun.elapsed() < PATIENCE / 4, "{file} is\n{}\nand was kept as\n{kept}", look(self));
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}
