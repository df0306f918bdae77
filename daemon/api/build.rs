//! Compiles `proto/daemon.proto` with protox, so that no protoc binary is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/daemon.proto");
    let files = protox::compile(["proto/daemon.proto"], ["proto"])?;
    // Our own `Connect` call would clash with the generated `connect` of the transport.
    tonic_prost_build::configure().build_transport(false).compile_fds(files)?;
    Ok(())
}
