# Shortcuts; everything also works with cargo alone. `just` lists them.

export CARGO_TERM_COLOR := "always"

default:
    @just --list

# The chat.
chat *arguments:
    cargo run --release -- {{arguments}}

# The same checks as in CI.
ci:
    .ci/run

# Format everything.
fmt:
    cargo fmt --all

# Lints, as CI runs them.
lint:
    cargo clippy --workspace --all-targets --release -- -D warnings

# All tests, or those whose name holds `filter`.
test filter="":
    cargo test --workspace --release {{filter}}

# One crate's tests: just room aside-config paths
room crate filter="":
    cargo test --release -p {{crate}} {{filter}}

# The documentation, with links between the rooms.
doc:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --release

# Licences, advisories, bans and sources of all dependencies.
deny:
    cargo deny check

# Accept the help texts and screens as they are now; look at the diff before you commit.
snapshots:
    INSTA_UPDATE=always cargo test --release -p aside

# A throw-away installation in a new folder.
scratch *arguments:
    ASIDE_HOME="$(mktemp -d)" cargo run --release -- {{arguments}}

# All benchmarks.
bench:
    cargo bench --workspace
