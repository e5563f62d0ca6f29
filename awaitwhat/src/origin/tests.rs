use std::sync::Arc;

use super::{Origin, Places, Rank, await_point, trio_traps};
use crate::pattern::Pattern;
use crate::snapshot::Frame;
use crate::testing::frame;

const HASH: &str = "7d4cd5ae1a5a5f5e0a4f2a1c8a3f0f1d7d4cd5ae1a5a5f5e0a4f2a1c8a3f0f1d";

fn places(standard_library: &str) -> Places {
    Places {
        standard_library: Some(standard_library.to_owned()),
        ..Places::default()
    }
}

/// Rank, and what is shown.
fn told<'a>(places: &Places, file: &'a str) -> (Rank, &'a str) {
    let origin = places.of(file, |_| None);
    (origin.rank, origin.shown(file))
}

#[test]
fn ordinary_interpreters() {
    use Rank::{Application, Installed, StandardLibrary};
    let debian = places("/usr/lib/python3.11/");
    let pyenv = places("/home/me/.pyenv/versions/3.12.1/lib/python3.12/");
    let zipped = places("/opt/python/lib/python312.zip/");
    let unusual = places("/opt/shop/runtime/Lib/");
    // Some ship an interpreter as a package.
    let nested = places("/venv/lib/python3.12/site-packages/runtime/lib/python3.12/");
    for (places, file, rank, shown) in [
        (
            &debian,
            "/usr/lib/python3.11/asyncio/tasks.py",
            StandardLibrary,
            "asyncio/tasks.py",
        ),
        (
            &debian,
            "/usr/lib/python3/dist-packages/aiohttp/web.py",
            Installed,
            "aiohttp/web.py",
        ),
        (
            &debian,
            "/usr/local/lib/python3.11/dist-packages/shop/api.py",
            Installed,
            "shop/api.py",
        ),
        (&debian, "<frozen runpy>", StandardLibrary, "<frozen runpy>"),
        (&debian, "/srv/app.py", Application, "/srv/app.py"),
        // Called like a standard library, and is none.
        (
            &debian,
            "/srv/lib/python3.11/app.py",
            Application,
            "/srv/lib/python3.11/app.py",
        ),
        (&debian, "<string>", Application, "<string>"),
        (&debian, "app.py", Application, "app.py"),
        (&debian, "./src/app.py", Application, "./src/app.py"),
        (&debian, "", Application, ""),
        (
            &pyenv,
            "/home/me/.pyenv/versions/3.12.1/lib/python3.12/asyncio/tasks.py",
            StandardLibrary,
            "asyncio/tasks.py",
        ),
        (
            &pyenv,
            "/home/me/.pyenv/versions/3.12.1/lib/python3.12/site-packages/shop/api.py",
            Installed,
            "shop/api.py",
        ),
        (
            &pyenv,
            "/srv/venv/lib/python3.12/site-packages/aiohttp/web.py",
            Installed,
            "aiohttp/web.py",
        ),
        (
            &zipped,
            "/opt/python/lib/python312.zip/asyncio/tasks.py",
            StandardLibrary,
            "asyncio/tasks.py",
        ),
        (
            &unusual,
            "/opt/shop/runtime/Lib/asyncio/tasks.py",
            StandardLibrary,
            "asyncio/tasks.py",
        ),
        (
            &nested,
            "/venv/lib/python3.12/site-packages/runtime/lib/python3.12/asyncio/tasks.py",
            StandardLibrary,
            "asyncio/tasks.py",
        ),
        (
            &nested,
            "/venv/lib/python3.12/site-packages/shop.py",
            Installed,
            "shop.py",
        ),
    ] {
        assert_eq!(told(places, file), (rank, shown), "{file}");
    }
}

#[test]
fn ways_to_ship_a_program() {
    use Rank::{Application, Installed, StandardLibrary};
    let python = places("/usr/lib/python3.12/");
    let bundle = places("");
    let wheel = format!(
        "/root/.cache/pex/installed_wheels/1/{HASH}/anyio-4.4.0-py3-none-any.whl/anyio/_core/_sync.py"
    );
    let old_wheel = format!("/home/me/.pex/installed_wheels/{HASH}/shop-1.0-py3-none-any.whl/shop/api.py");
    let user_code = format!("/home/me/.pex/unzipped_pexes/1/{HASH}/shop/api.py");
    let shiv = format!("/home/me/.shiv/shop_{HASH}/site-packages/shop/api.py");
    for (places, file, rank, shown) in [
        // pip into a container's interpreter, pipx, shiv.
        (
            &python,
            "/usr/lib/python3.12/site-packages/shop/api.py",
            Installed,
            "shop/api.py",
        ),
        (
            &python,
            "/home/me/.local/share/pipx/venvs/shop/lib/python3.12/site-packages/shop/api.py",
            Installed,
            "shop/api.py",
        ),
        (&python, &shiv, Installed, "shop/api.py"),
        // PEX: wheels, one of them perhaps the application, and sources beside them.
        (&python, &wheel, Installed, "anyio/_core/_sync.py"),
        (&python, &old_wheel, Installed, "shop/api.py"),
        (&python, &user_code, Application, "shop/api.py"),
        (
            &python,
            "/srv/shop.pex/.deps/anyio-4.4.0-py3-none-any.whl/anyio/to_thread.py",
            Installed,
            "anyio/to_thread.py",
        ),
        (
            &python,
            "/srv/shop.pex/.bootstrap/pex/pex.py",
            Installed,
            "pex/pex.py",
        ),
        (
            &python,
            "/srv/eggs/shop-1.0-py3.12.egg/shop/api.py",
            Installed,
            "shop/api.py",
        ),
        // PyInstaller: everything is relative.
        (&bundle, "asyncio/tasks.py", StandardLibrary, "asyncio/tasks.py"),
        (&bundle, "threading.py", StandardLibrary, "threading.py"),
        (&bundle, "_weakrefset.py", StandardLibrary, "_weakrefset.py"),
        (&bundle, "anyio/to_thread.py", Installed, "anyio/to_thread.py"),
        (&bundle, "app.py", Application, "app.py"),
        (&bundle, "/srv/plugins/one.py", Application, "/srv/plugins/one.py"),
    ] {
        assert_eq!(told(places, file), (rank, shown), "{file}");
    }
}

#[test]
fn what_cython_compiled_is_where_its_module_is() {
    let places = places("/usr/lib/python3.12/");
    let modules = [
        (
            "uvloop.loop",
            "/venv/lib/python3.12/site-packages/uvloop/loop.cpython-312-x86_64-linux-gnu.so",
        ),
        ("shop.stock", "/srv/shop/stock.cpython-312-x86_64-linux-gnu.so"),
        (
            "ledger",
            "/venv/lib/python3.12/site-packages/ledger.cpython-312-x86_64-linux-gnu.so",
        ),
    ];
    let file_of_module = |name: &str| {
        modules
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, file)| (*file).to_owned())
    };
    for (file, rank) in [
        ("uvloop/loop.pyx", Rank::Installed),
        ("src/uvloop/loop.pyx", Rank::Installed),
        ("shop/stock.py", Rank::Application),
        ("ledger.pyx", Rank::Installed),
        // A script may be called like a module that is installed.
        ("ledger.py", Rank::Application),
        ("src/app.py", Rank::Application),
    ] {
        let origin = places.of(file, file_of_module);
        assert_eq!((origin.rank, origin.shown(file)), (rank, file), "{file}");
    }
}

#[test]
fn without_a_known_folder_names_tell() {
    let places = Places::default();
    for (file, expected) in [
        (
            "/usr/lib64/python3.14/asyncio/tasks.py",
            (Rank::StandardLibrary, "asyncio/tasks.py"),
        ),
        (
            "/opt/lib/python3.13t/asyncio/tasks.py",
            (Rank::StandardLibrary, "asyncio/tasks.py"),
        ),
        (
            "/usr/lib/python312.zip/asyncio/tasks.py",
            (Rank::StandardLibrary, "asyncio/tasks.py"),
        ),
        (
            "/venv/lib/python3.12/site-packages/shop.py",
            (Rank::Installed, "shop.py"),
        ),
        (
            "/home/me/lib/pythonic/app.py",
            (Rank::Application, "/home/me/lib/pythonic/app.py"),
        ),
        ("/lib/python3.12", (Rank::Application, "/lib/python3.12")),
        ("asyncio/tasks.py", (Rank::Application, "asyncio/tasks.py")),
    ] {
        assert_eq!(told(&places, file), expected, "{file}");
    }
}

#[test]
fn what_the_user_says_is_mine_is_the_application_and_nothing_else_is() {
    let mine: Arc<[Pattern]> = Arc::new([
        Pattern::new("/site-packages/shop/").unwrap(),
        Pattern::new("asyncio/queues").unwrap(),
    ]);
    let places = Places {
        mine,
        ..places("/usr/lib/python3.12/")
    };
    for (file, expected) in [
        (
            "/venv/lib/python3.12/site-packages/shop/api.py",
            (Rank::Application, "shop/api.py"),
        ),
        (
            "/venv/lib/python3.12/site-packages/aiohttp/web.py",
            (Rank::Installed, "aiohttp/web.py"),
        ),
        (
            "/usr/lib/python3.12/asyncio/queues.py",
            (Rank::Application, "asyncio/queues.py"),
        ),
        (
            "/usr/lib/python3.12/asyncio/tasks.py",
            (Rank::StandardLibrary, "asyncio/tasks.py"),
        ),
        (
            "/srv/vendored/http.py",
            (Rank::Installed, "/srv/vendored/http.py"),
        ),
    ] {
        assert_eq!(told(&places, file), expected, "{file}");
    }
}

#[test]
fn hostile_paths_are_shown_whole() {
    let long = format!("/{}/site-packages/{}", "a".repeat(70_000), "b");
    assert_eq!(told(&Places::default(), &long), (Rank::Installed, &*long));
    let origin = Origin::new(Rank::Installed, "äöü", "ü");
    // Said of another file, it cuts no character.
    assert_eq!(origin.shown("ä€ü"), "ä€ü");
    for file in [
        "/",
        "//",
        "/site-packages/",
        "a/",
        "<",
        "<frozen ",
        "site-packages",
    ] {
        told(&Places::default(), file);
        told(&places(""), file);
    }
}

#[test]
fn the_await_point_is_the_innermost_frame_of_the_highest_rank() {
    let asyncio = || frame("Event.wait", "/usr/lib/python3.12/asyncio/locks.py", 213);
    let anyio = || {
        frame(
            "CapacityLimiter.acquire",
            "/venv/lib/python3.12/site-packages/anyio/_backends/_asyncio.py",
            1,
        )
    };
    let app = || frame("endpoint", "/srv/app.py", 5);
    let gap = || Frame::left_out(Some(7));
    assert_eq!(await_point(&[asyncio(), anyio(), app(), anyio()]), 2);
    assert_eq!(await_point(&[asyncio(), anyio(), anyio()]), 1);
    assert_eq!(await_point(&[gap(), asyncio(), asyncio()]), 1);
    assert_eq!(await_point(&[gap()]), 0);
    assert_eq!(await_point(&[]), 0);
}

#[test]
fn trio_traps_are_found_in_a_bundle_too() {
    let trap = |file| frame("wait_task_rescheduled", file, 1);
    let app = || frame("main", "app.py", 1);
    assert_eq!(
        trio_traps(&[
            trap("/venv/lib/python3.12/site-packages/trio/_core/_traps.py"),
            app()
        ]),
        1
    );
    assert_eq!(trio_traps(&[trap("trio/_core/_traps.py"), app()]), 1);
}
