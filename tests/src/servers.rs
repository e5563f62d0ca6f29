//! Database servers of Debian, started for tests on this machine's loopback. They end with the test binary, whatever it ends by: a shell waits for
//! its standard input to end, stops the server and removes its folder.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Where Debian has the programs of PostgreSQL, in a folder per version.
const POSTGRESQL: &str = "/usr/lib/postgresql";
/// What PostgreSQL says once it can be used.
const READY: &str = "database system is ready to accept connections";
/// How long a server may take to start, and the pause between two looks.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// Starts PostgreSQL as its own user, as it refuses to run as root. `$1` is its folder, `$2` the port, `$3` where its programs are.
const START_POSTGRESQL: &str = r#"
chown postgres "$1"
as() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
as "$3/initdb" -D "$1/data" -A trust -U postgres --no-sync --locale=C -E UTF8 >"$1/log" 2>&1 &&
setpriv --reuid=postgres --regid=postgres --clear-groups "$3/postgres" -D "$1/data" -k "$1" -h 127.0.0.1 -p "$2" \
    -c fsync=off -c max_connections=300 >>"$1/log" 2>&1 </dev/null &
server=$!
cat >/dev/null
kill -INT $(head -n 1 "$1/data/postmaster.pid")
wait $server
rm -rf "$1"
"#;
const START_REDIS: &str = r#"
redis-server --bind 127.0.0.1 --port "$2" --dir "$1" --save '' --appendonly no >"$1/log" 2>&1 </dev/null &
server=$!
cat >/dev/null
kill $server
wait $server
rm -rf "$1"
"#;

/// A running server.
pub struct Server {
    pub port: u16,
    /// The shell that waits for the end: it has to live as long as this process.
    _shell: Child,
}

impl Server {
    /// Starts PostgreSQL; `None` where it is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub fn postgresql() -> Result<Option<Self>> {
        let Some(programs) = postgresql_programs() else {
            return Ok(None);
        };
        let is_ready = |log: &str, _| log.contains(READY);
        start(START_POSTGRESQL, &programs, &is_ready).map(Some)
    }

    /// Starts Redis; `None` where it is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub fn redis() -> Result<Option<Self>> {
        let is_there = Command::new("redis-server")
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        if !is_there.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let is_ready = |_: &str, port| TcpStream::connect(("127.0.0.1", port)).is_ok();
        start(START_REDIS, Path::new(""), &is_ready).map(Some)
    }
}

fn postgresql_programs() -> Option<PathBuf> {
    let versions = fs::read_dir(POSTGRESQL).ok()?.flatten();
    let programs = versions.map(|version| version.path().join("bin"));
    programs.filter(|it| it.join("postgres").exists()).max()
}

fn start(script: &str, programs: &Path, is_ready: &dyn Fn(&str, u16) -> bool) -> Result<Server> {
    let folder = tempfile::Builder::new()
        .prefix("awaitwhat-server-")
        .tempdir()?
        .keep();
    let port = free_port()?;
    let mut shell = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(&folder)
        .arg(port.to_string())
        .arg(programs)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start a shell")?;
    let end = Instant::now() + LIMIT;
    loop {
        let log = fs::read(folder.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        if is_ready(&log, port) {
            return Ok(Server { port, _shell: shell });
        }
        let is_over = shell.try_wait()?.is_some() || Instant::now() > end;
        if is_over {
            drop(shell.stdin.take());
            bail!("a server does not start: {log}");
        }
        thread::sleep(PAUSE);
    }
}

/// A port that nobody listens at.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("there is no free port")?;
    Ok(listener.local_addr()?.port())
}
