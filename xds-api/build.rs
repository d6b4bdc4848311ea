//! Generates the Rust types from the committed descriptor set of Envoy 1.40 and the small APIs declared in `proto/`.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};

const DESCRIPTORS: &str = "descriptors/envoy-1.40.0.descset";

/// APIs that are not part of the Envoy binary. They are parsed without name resolution, so every reference in
/// them is written fully qualified, with a leading dot.
const DECLARED: [&str; 3] = [
    "envoy/service/status/v3/csds.proto",
    "ratelimit/config/ratelimit/v3/rls_conf.proto",
    "ratelimit/service/ratelimit/v3/rls_conf_ds.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={DESCRIPTORS}");
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    // The decoded form loses the options that carry the field rules, so the bytes are kept as they came and the
    // declared files are appended: two encoded sets, one after the other, are one set.
    let mut descriptors = fs::read(DESCRIPTORS)?;
    let mut files = FileDescriptorSet::decode(descriptors.as_slice())?;
    let mut enums = BTreeSet::new();
    for file in &files.file {
        collect_enums(file, &mut enums);
    }
    for name in DECLARED {
        let mut file = protox_parse::parse(name, &fs::read_to_string(Path::new("proto").join(name))?)?;
        collect_enums(&file, &mut enums);
        for message in &mut file.message_type {
            set_reference_types(message, &enums);
        }
        FileDescriptorSet { file: vec![file.clone()] }.encode(&mut descriptors)?;
        files.file.push(file);
    }
    fs::write(out.join("descriptors.bin"), descriptors)?;

    let mut config = tonic_prost_build::Config::new();
    config
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        // One encoding for one value: versions are hashes of these bytes.
        .btree_map(["."])
        .bytes([".google.protobuf.Any.value"])
        .compile_well_known_types()
        .disable_comments(["."])
        .include_file("api.rs");
    tonic_prost_build::configure().build_transport(false).compile_fds_with_config(files, config)?;
    Ok(())
}

fn collect_enums(file: &FileDescriptorProto, names: &mut BTreeSet<String>) {
    let package = format!(".{}", file.package());
    names.extend(file.enum_type.iter().map(|e| format!("{package}.{}", e.name())));
    let mut pending: Vec<(String, &DescriptorProto)> = file.message_type.iter().map(|m| (package.clone(), m)).collect();
    while let Some((scope, message)) = pending.pop() {
        let scope = format!("{scope}.{}", message.name());
        names.extend(message.enum_type.iter().map(|e| format!("{scope}.{}", e.name())));
        pending.extend(message.nested_type.iter().map(|m| (scope.clone(), m)));
    }
}

/// A parsed file leaves open whether a named type is a message or an enum; the code generator needs to know.
fn set_reference_types(message: &mut DescriptorProto, enums: &BTreeSet<String>) {
    for field in &mut message.field {
        if field.r#type.is_none() {
            let kind = if enums.contains(field.type_name()) { Type::Enum } else { Type::Message };
            field.set_type(kind);
        }
    }
    for nested in &mut message.nested_type {
        set_reference_types(nested, enums);
    }
}
