//! Compiles `proto/cloud.proto` with protox, so that no protoc binary is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/cloud.proto");
    let files = protox::compile(["proto/cloud.proto"], ["proto"])?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}
