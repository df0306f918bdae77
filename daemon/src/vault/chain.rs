//! The chain of commits: a counter and a hash over all tags so far, advanced inside every write transaction.

use super::Result;
use ring::digest::{Context, SHA256};
use rusqlite::{Connection, Transaction, params};

pub(super) fn advance(t: &Transaction<'_>, tag: &str) -> Result<()> {
    let (counter, hash) = head(t)?;
    let mut context = Context::new(&SHA256);
    context.update(&hash);
    context.update(&counter.to_le_bytes());
    context.update(tag.as_bytes());
    t.execute("UPDATE chain SET counter = counter + 1, hash = ?1", params![context.finish().as_ref()])?;
    Ok(())
}

pub(super) fn head(c: &Connection) -> Result<(u64, Vec<u8>)> {
    Ok(c.query_row("SELECT counter, hash FROM chain", [], |r| {
        Ok((r.get::<_, i64>(0)?.cast_unsigned(), r.get(1)?))
    })?)
}
