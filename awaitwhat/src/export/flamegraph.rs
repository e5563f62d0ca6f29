//! A profile as a flame graph: an SVG that is searched and zoomed in any browser.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use inferno::flamegraph::color::{BasicPalette, Color, Palette, PaletteMap};
use inferno::flamegraph::{Options, TextTruncateDirection, from_lines};

use super::folded;
use crate::origin::Rank;
use crate::profile::{ChainState, Diff, Profile, ratio};
use crate::snapshot::Frame;
use crate::view::escape::{Escaped, FoldedEscaped};

/// Width of a picture that is part of a page, in pixels.
const ELEMENT_WIDTH: usize = 1100;
/// Frames of installed packages: pale, so that the application stands out. Neighbours differ.
const INSTALLED_COLORS: [Color; 3] = [color(184, 200, 226), color(194, 208, 231), color(203, 215, 235)];
/// Frames of the standard library, and what chains end in: grey.
const LIBRARY_COLORS: [Color; 3] = [color(216, 216, 218), color(223, 223, 225), color(229, 229, 231)];
/// The end of a chain that could have gone on.
const READY_COLOR: Color = color(235, 190, 100);
/// The end of a chain that ran.
const RUNNING_COLOR: Color = color(110, 190, 110);

/// Which end of a chain is at the root of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// The outermost frame: where time went, from the task's own coroutine on.
    Outermost,
    /// What the chain ends in: who waits for it, wherever that is.
    Innermost,
}

/// Writes `profile` as SVG. Widths are microseconds of task time.
///
/// # Errors
/// When `output` fails.
pub fn write(profile: &Profile, root: Root, output: &mut impl Write) -> io::Result<()> {
    draw(profile, &folded::lines(profile), root, None, output)
}

/// Writes several profiles as one SVG, each above a frame of its own that names its process. `merged` is all of them as one.
///
/// # Errors
/// When `output` fails.
pub fn write_each(
    profiles: &[Profile],
    merged: &Profile,
    root: Root,
    output: &mut impl Write,
) -> io::Result<()> {
    draw(merged, &folded::lines_of_each(profiles), root, None, output)
}

/// Writes the same as an element of a page, of one process or several: without what stands before it in a file of its own, and of a fixed width,
/// as the library's script cannot tell how wide it is there.
///
/// # Errors
/// When `output` fails.
pub(super) fn write_element(
    profiles: &[Profile],
    merged: &Profile,
    root: Root,
    output: &mut impl Write,
) -> io::Result<()> {
    let lines = match profiles {
        [_] => folded::lines(merged),
        several => folded::lines_of_each(several),
    };
    let mut picture = Vec::new();
    draw(merged, &lines, root, Some(ELEMENT_WIDTH), &mut picture)?;
    let start = picture.windows(4).position(|bytes| bytes == b"<svg").unwrap_or(0);
    output.write_all(picture.get(start..).unwrap_or_default())
}

/// Writes the later of two profiles as SVG, with what became more in red and what became less in blue. Widths are task time for each second,
/// so that periods of any length compare; what is gone has no width.
///
/// # Errors
/// When `output` fails.
pub fn write_diff(diff: &Diff, output: &mut impl Write) -> io::Result<()> {
    let mut options = options(&diff.after);
    options.title.push_str(", and what has changed");
    options.subtitle = Some(diff_subtitle(diff));
    "us of task time a second".clone_into(&mut options.count_name);
    let lines = diff_lines(diff);
    // The library takes no time at all for an error.
    if lines.iter().all(|(_, weights)| weights[1] == 0) {
        "no tasks seen in the later profile".clone_into(&mut options.title);
        return from_lines(&mut options, ["no tasks seen 1 1"], output);
    }
    let lines: Vec<String> = lines
        .iter()
        .map(|(stack, [before, after])| format!("{stack} {before} {after}"))
        .collect();
    from_lines(&mut options, lines.iter().map(String::as_str), output)
}

/// Stacks of both profiles, in the order of their text, with the microseconds of task time for each second, before and after.
fn diff_lines(diff: &Diff) -> Vec<(String, [u64; 2])> {
    let mut stacks: BTreeMap<String, [f64; 2]> = BTreeMap::new();
    for (side, profile) in [&diff.before, &diff.after].into_iter().enumerate() {
        for chain in &profile.chains {
            let weight = 1e6 * ratio(chain.task_seconds, profile.duration_seconds);
            stacks.entry(folded::stack(chain)).or_default()[side] += weight;
        }
    }
    // The floats become the nearest integers of the type.
    let lines = stacks
        .into_iter()
        .map(|(stack, weights)| (stack, weights.map(|it| it.round() as u64)));
    lines.filter(|(_, weights)| *weights != [0, 0]).collect()
}

fn diff_subtitle(diff: &Diff) -> String {
    let gone: u64 = diff_lines(diff)
        .iter()
        .filter(|(_, weights)| weights[1] == 0)
        .map(|(_, weights)| weights[0])
        .sum();
    format!(
        "{:.1} tasks on average, {:.1} before. Red: more than before, blue: fewer. Gone, and not drawn: {:.2}",
        diff.after.mean_tasks(),
        diff.before.mean_tasks(),
        gone as f64 / 1e6
    )
}

fn draw(
    profile: &Profile,
    lines: &[String],
    root: Root,
    width: Option<usize>,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut colors = colors(profile);
    let mut options = options(profile);
    options.reverse_stack_order = root == Root::Innermost;
    options.image_width = width;
    options.palette_map = Some(&mut colors);
    if lines.is_empty() {
        // The library takes no stacks at all for an error; a target without tasks is none.
        "no tasks seen".clone_into(&mut options.title);
        return from_lines(&mut options, ["no tasks seen 1"], output);
    }
    from_lines(&mut options, lines.iter().map(String::as_str), output)
}

fn options<'a>(profile: &Profile) -> Options<'a> {
    let mut options = Options::default();
    options.title = match profile.processes.as_slice() {
        [process] => format!("What the tasks of process {} await", process.pid),
        several => format!("What the tasks of {} processes await", several.len()),
    };
    options.subtitle = Some(subtitle(profile));
    // The function comes first, and matters more than where it is.
    options.text_truncate_direction = TextTruncateDirection::Right;
    "us of task time".clone_into(&mut options.count_name);
    "Frame:".clone_into(&mut options.name_type);
    // By convention blue is for time spent waiting.
    options.colors = Palette::Basic(BasicPalette::Blue);
    options.hash = true;
    options
}

/// Colours of the frames that do not take the usual one.
fn colors(profile: &Profile) -> PaletteMap {
    let mut colors = PaletteMap::default();
    let mut frames: Vec<&Frame> = profile
        .chains
        .iter()
        .flat_map(|chain| chain.stack.iter())
        .filter(|frame| frame.origin.rank != Rank::Application)
        .collect();
    // Where two look alike that are not, the one that matters more comes last.
    frames.sort_by_key(|frame| frame.origin.rank);
    for frame in frames {
        let shades = match frame.origin.rank {
            Rank::Installed | Rank::Application => INSTALLED_COLORS,
            Rank::StandardLibrary | Rank::Unknown => LIBRARY_COLORS,
        };
        colors.insert(
            folded::FrameName(frame),
            shades[frame.function.len() % shades.len()],
        );
    }
    // What a chain ends in is no frame of the application either.
    for chain in &profile.chains {
        colors.insert(FoldedEscaped(&folded::leaf(chain)), LIBRARY_COLORS[0]);
    }
    colors.insert(folded::READY, READY_COLOR);
    colors.insert(folded::RUNNING, RUNNING_COLOR);
    colors
}

const fn color(red: u8, green: u8, blue: u8) -> Color {
    Color {
        r: red,
        g: green,
        b: blue,
    }
}

fn subtitle(profile: &Profile) -> String {
    let versions: BTreeSet<&str> = profile.processes.iter().map(|process| &*process.python).collect();
    let versions = versions.into_iter().collect::<Vec<_>>().join(", ");
    format!(
        "CPython {} for {:.1} s: {:.1} tasks on average, {:.1} task-seconds waiting, {:.1} ready, {:.1} running",
        Escaped(&versions),
        profile.duration_seconds,
        profile.mean_tasks(),
        profile.task_seconds(ChainState::Waiting),
        profile.task_seconds(ChainState::Ready),
        profile.task_seconds(ChainState::Running),
    )
}

#[cfg(test)]
mod tests {
    use crate::profile::{Diff, Profile};
    use crate::testing::{HOSTILE, chain, frame, profile, small_profile};

    fn written(profile: &Profile) -> String {
        let mut output = Vec::new();
        super::write(profile, super::Root::Outermost, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    fn titles(svg: &str) -> String {
        let titles = svg
            .split("<title>")
            .skip(1)
            .filter_map(|rest| rest.split_once("</title>"));
        titles.map(|(title, _)| format!("{title}\n")).collect()
    }

    #[test]
    fn every_frame_with_its_weight() {
        insta::assert_snapshot!(titles(&written(&small_profile())), @"
        Pool.worker (/srv/app.py:20) (60,000,000 us of task time, 60.15%)
        sleep (asyncio/tasks.py:704) (60,000,000 us of task time, 60.15%)
        [Future] (60,000,000 us of task time, 60.15%)
        Pool.worker (/srv/app.py:22) (29,000,000 us of task time, 29.07%)
        Lock.acquire (asyncio/locks.py:113) (29,000,000 us of task time, 29.07%)
        [Future] (29,000,000 us of task time, 29.07%)
        Pool.worker (/srv/app.py:25) (500,000 us of task time, 0.50%)
        crunch (/srv/app.py:7) (500,000 us of task time, 0.50%)
        [running] (500,000 us of task time, 0.50%)
        main (/srv/app.py:61) (10,000,000 us of task time, 10.03%)
        [_GatheringFuture] (10,000,000 us of task time, 10.03%)
        all (99,750,000 us of task time, 100%)
        rare (/srv/app.py:99) (250,000 us of task time, 0.25%)
        [Future] (250,000 us of task time, 0.25%)
        ");
    }

    #[test]
    fn the_root_is_what_is_waited_for_where_that_is_asked_for() {
        let draw = |profile: &Profile| {
            let mut output = Vec::new();
            super::write(profile, super::Root::Innermost, &mut output).unwrap();
            String::from_utf8(output).unwrap()
        };
        insta::assert_snapshot!(titles(&draw(&small_profile())), @"
        Lock.acquire (asyncio/locks.py:113) (29,000,000 us of task time, 29.07%)
        Pool.worker (/srv/app.py:22) (29,000,000 us of task time, 29.07%)
        rare (/srv/app.py:99) (250,000 us of task time, 0.25%)
        [Future] (89,250,000 us of task time, 89.47%)
        sleep (asyncio/tasks.py:704) (60,000,000 us of task time, 60.15%)
        Pool.worker (/srv/app.py:20) (60,000,000 us of task time, 60.15%)
        [_GatheringFuture] (10,000,000 us of task time, 10.03%)
        main (/srv/app.py:61) (10,000,000 us of task time, 10.03%)
        all (99,750,000 us of task time, 100%)
        [running] (500,000 us of task time, 0.50%)
        crunch (/srv/app.py:7) (500,000 us of task time, 0.50%)
        Pool.worker (/srv/app.py:25) (500,000 us of task time, 0.50%)
        ");
        assert!(draw(&profile(Vec::new())).contains("no tasks seen"));
    }

    #[test]
    fn colours_follow_the_ranks() {
        let web = frame("serve", "/venv/lib/python3.12/site-packages/aiohttp/web.py", 9);
        let mut profile = small_profile();
        profile.chains.push(chain(
            &[web, frame("main", "/srv/app.py", 62)],
            Some("Future"),
            5.0,
        ));
        let svg = written(&profile);
        let fill = |name: &str| {
            let start = svg.find(&format!("<title>{name}")).unwrap();
            let fill = svg[start..].split_once("fill=\"rgb(").unwrap().1;
            fill.split_once(')').unwrap().0.to_owned()
        };
        let is_one_of = |name: &str, shades: [super::Color; 3]| {
            let fills = shades.map(|shade| format!("{},{},{}", shade.r, shade.g, shade.b));
            fills.contains(&fill(name))
        };
        assert!(is_one_of("sleep (asyncio/", super::LIBRARY_COLORS));
        assert!(is_one_of("serve (aiohttp/", super::INSTALLED_COLORS));
        for name in ["[Future]", "[_GatheringFuture]"] {
            assert_eq!(fill(name), "216,216,218", "{name}");
        }
        let main = "main (/srv/app.py";
        assert!(!is_one_of(main, super::LIBRARY_COLORS) && !is_one_of(main, super::INSTALLED_COLORS));
    }

    #[test]
    fn two_runs_give_one_picture() {
        assert_eq!(written(&small_profile()), written(&small_profile()));
    }

    #[test]
    fn what_changed_has_its_colour() {
        let mut later = small_profile();
        later.chains.remove(2);
        later.chains[0].task_seconds = 90.0;
        later.chains[1].task_seconds = 9.0;
        let mut output = Vec::new();
        super::write_diff(&Diff::new(small_profile(), later), &mut output).unwrap();
        let svg = String::from_utf8(output).unwrap();
        insta::assert_snapshot!(titles(&svg), @"
        Pool.worker (/srv/app.py:20) (9,000,000 us of task time a second, 90.23%; 0.00%)
        sleep (asyncio/tasks.py:704) (9,000,000 us of task time a second, 90.23%; 0.00%)
        [Future] (9,000,000 us of task time a second, 90.23%; +30.08%)
        Pool.worker (/srv/app.py:22) (900,000 us of task time a second, 9.02%; 0.00%)
        Lock.acquire (asyncio/locks.py:113) (900,000 us of task time a second, 9.02%; 0.00%)
        [Future] (900,000 us of task time a second, 9.02%; -20.05%)
        Pool.worker (/srv/app.py:25) (50,000 us of task time a second, 0.50%; 0.00%)
        crunch (/srv/app.py:7) (50,000 us of task time a second, 0.50%; 0.00%)
        [running] (50,000 us of task time a second, 0.50%; 0.00%)
        all (9,975,000 us of task time a second, 100%)
        rare (/srv/app.py:99) (25,000 us of task time a second, 0.25%; 0.00%)
        [Future] (25,000 us of task time a second, 0.25%; 0.00%)
        ");
        let colors = |name: &str| -> Vec<u8> {
            let start = svg.find(&format!("<title>{name}")).unwrap();
            let fill = svg[start..].split_once("fill=\"rgb(").unwrap().1;
            let fill = fill.split_once(')').unwrap().0;
            fill.split(',').map(|it| it.parse().unwrap()).collect()
        };
        let (grew, shrank) = (colors("[Future] (9,000,000"), colors("[Future] (900,000"));
        assert!(grew[0] > grew[2], "{grew:?} is no red");
        assert!(shrank[2] > shrank[0], "{shrank:?} is no blue");
        assert!(svg.contains("Gone, and not drawn: 1.00"));
    }

    #[test]
    fn of_nothing_there_is_a_picture_of_a_difference() {
        for (before, after) in [
            (profile(Vec::new()), profile(Vec::new())),
            (small_profile(), profile(Vec::new())),
        ] {
            let mut output = Vec::new();
            super::write_diff(&Diff::new(before, after), &mut output).unwrap();
            assert!(String::from_utf8(output).unwrap().contains("no tasks seen"));
        }
    }

    #[test]
    fn an_empty_profile_is_a_picture() {
        assert!(written(&profile(Vec::new())).contains("no tasks seen"));
    }

    #[test]
    fn hostile_names_are_no_markup() {
        let svg = written(&profile(vec![chain(
            &[frame(HOSTILE, HOSTILE, 1)],
            Some(HOSTILE),
            1.0,
        )]));
        assert!(!svg.contains('\x1b') && !svg.contains('\u{202e}'));
        assert!(!svg.contains("<&\">"));
    }
}
