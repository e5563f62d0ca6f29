use prost::Message as _;

use super::message::{Dictionary, ProfilesData, Value};
use crate::profile::Profile;
use crate::resource::ResourceKind;
use crate::testing::{chain, frame, hostile_profile, named, profile, ready, running, small_profile};

fn written(profiles: &[Profile]) -> ProfilesData {
    let mut output = Vec::new();
    super::write(profiles, "db-1", 512, &mut output).unwrap();
    ProfilesData::decode(&*output).unwrap()
}

fn place(index: i32) -> usize {
    usize::try_from(index).unwrap()
}

fn text(dictionary: &Dictionary, index: i32) -> &str {
    &dictionary.string_table[place(index)]
}

fn attribute(dictionary: &Dictionary, index: i32) -> String {
    let attribute = &dictionary.attribute_table[place(index)];
    let value = attribute.value.clone().unwrap().value.unwrap();
    let value = match value {
        Value::Text(text) => text,
        Value::Number(number) => number.to_string(),
    };
    format!("{}={value}", text(dictionary, attribute.key_strindex))
}

/// A line for each resource, profile and sample.
fn shown(data: &ProfilesData) -> String {
    let dictionary = data.dictionary.as_ref().unwrap();
    let mut lines = Vec::new();
    for of_resource in &data.resource_profiles {
        let attributes = &of_resource.resource.as_ref().unwrap().attributes;
        let attributes = attributes.iter().map(|it| {
            let value = it.value.clone().unwrap().value.unwrap();
            format!("{}={value:?}", it.key)
        });
        lines.push(attributes.collect::<Vec<_>>().join(" "));
        for profile in &of_resource.scope_profiles[0].profiles {
            let kind = profile.sample_type.unwrap();
            let names = [kind.type_strindex, kind.unit_strindex].map(|it| text(dictionary, it));
            lines.push(format!("  {} {}", names.join(" "), profile.duration_nano));
            for sample in &profile.samples {
                let stack = &dictionary.stack_table[place(sample.stack_index)];
                let frames = stack.location_indices.iter().map(|index| {
                    let location = &dictionary.location_table[place(*index)];
                    let line = location.lines[0];
                    let function = &dictionary.function_table[place(line.function_index)];
                    let [name, file] =
                        [function.name_strindex, function.filename_strindex].map(|it| text(dictionary, it));
                    format!("{name} {file}:{}", line.line)
                });
                let attributes = sample.attribute_indices.iter();
                let attributes: Vec<_> = attributes.map(|it| attribute(dictionary, *it)).collect();
                lines.push(format!(
                    "    {:?} {} {attributes:?}",
                    sample.values,
                    frames.collect::<Vec<_>>().join(" < ")
                ));
            }
        }
    }
    lines.join("\n")
}

#[test]
fn a_profile_for_each_state() {
    let at = [frame("worker", "/srv/app.py", 1)];
    let one = profile(vec![
        named(ResourceKind::Lock, "self.lock", chain(&at, Some("Future"), 1.5)),
        // They look the same.
        chain(&at, Some("Future"), 1.0),
        chain(&at, Some("Future"), 2.0),
        ready(&at, None, 2.5),
        running(&at, 0.5),
        chain(&at, None, f64::NAN),
    ]);
    insta::assert_snapshot!(shown(&written(&[one])), @r#"
    service.name=Text("unknown_service:python3") host.name=Text("db-1") process.pid=Number(4711) process.executable.name=Text("python3") process.runtime.name=Text("cpython") process.runtime.version=Text("3.14.10")
      waiting nanoseconds 10000000000
        [1500000000] [lock self.lock] :0 < worker /srv/app.py:1 ["awaitwhat.resource=lock self.lock"]
        [3000000000] [Future] :0 < worker /srv/app.py:1 ["awaitwhat.resource=Future"]
      ready nanoseconds 10000000000
        [2500000000] [ready] :0 < worker /srv/app.py:1 []
      running nanoseconds 10000000000
        [500000000] [running] :0 < worker /srv/app.py:1 []
    "#);
}

#[test]
fn tables_begin_with_nothing_and_have_everything_once() {
    let data = written(&[small_profile(), small_profile()]);
    assert_eq!(data.resource_profiles.len(), 2);
    let dictionary = data.dictionary.unwrap();
    assert_eq!(dictionary.string_table[0], "");
    assert_eq!(dictionary.location_table[0], super::Location::default());
    assert_eq!(dictionary.function_table[0], super::Function::default());
    assert_eq!(dictionary.stack_table[0], super::Stack::default());
    assert_eq!(dictionary.attribute_table[0], super::Attribute::default());
    assert_eq!(
        (dictionary.mapping_table.len(), dictionary.link_table.len()),
        (1, 1)
    );
    let mut texts = dictionary.string_table.clone();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), dictionary.string_table.len());
}

#[test]
fn losses_are_told_and_hostile_names_do_not_deceive() {
    let data = written(&[hostile_profile()]);
    let dictionary = data.dictionary.as_ref().unwrap();
    let profile = &data.resource_profiles[0].scope_profiles[0].profiles[0];
    assert_eq!(
        attribute(dictionary, profile.attribute_indices[0]),
        "awaitwhat.not_shown=3 of 9903 task visits left out (changed while it was read)"
    );
    for character in shown(&data).chars().filter(|it| *it != '\n') {
        assert!(crate::view::escape::is_safe(character), "{character:?}");
    }
    let merged = Profile::merged(
        &[small_profile(), small_profile()],
        small_profile().started_at,
        10.0,
    );
    assert!(
        shown(&written(&[merged]))
            .starts_with("service.name=Text(\"unknown_service\") host.name=Text(\"db-1\")\n")
    );
}
