//! Rows of `leases`.
//!
//! Owns the table's SQL. Called by the store's [`LeaseStore`](crate::stores::leases::LeaseStore).

use std::time::Duration;

use crate::{
    domain::ids::InstanceId,
    stores::{
        catalog::StoreError,
        sql::{
            session::{Session, Statements},
            value::named,
        },
    },
};

pub(super) fn hold(
    session: &Session,
    name: &str,
    holder: &InstanceId,
    time: Duration,
) -> Result<Option<u64>, StoreError> {
    let clock = session.conn().clock();
    let epoch = session.find(
        &format!(
            "INSERT INTO leases (name, holder, epoch, ends_at) VALUES (:name, :holder, 1, {clock} + :time)
             ON CONFLICT (name) DO UPDATE SET
                 holder = excluded.holder,
                 epoch = CASE WHEN leases.holder = excluded.holder THEN leases.epoch ELSE leases.epoch + 1 END,
                 ends_at = excluded.ends_at
             WHERE leases.holder = excluded.holder OR leases.ends_at <= {clock}
             RETURNING epoch"
        ),
        named! {
            ":name": name,
            ":holder": holder.as_str(),
            ":time": i64::try_from(time.as_micros()).unwrap_or(i64::MAX),
        },
        |row| row.get::<i64>("epoch"),
    )?;
    Ok(epoch.map(i64::unsigned_abs))
}

pub(super) fn holds(session: &Session, name: &str, holder: &InstanceId, epoch: u64) -> Result<bool, StoreError> {
    let clock = session.conn().clock();
    let sql = format!("SELECT 1 FROM leases WHERE name = ?1 AND holder = ?2 AND epoch = ?3 AND ends_at > {clock}");
    Ok(session.exists(&sql, (name, holder.as_str(), i64::try_from(epoch).unwrap_or(i64::MAX)))?)
}

pub(super) fn release(session: &Session, name: &str, holder: &InstanceId) -> Result<(), StoreError> {
    let sql = "UPDATE leases SET ends_at = 0 WHERE name = ?1 AND holder = ?2";
    session.execute(sql, (name, holder.as_str()))?;
    Ok(())
}

/// Before the id of an instance: the lease by which it is known to be there.
const PRESENT: &str = "instance/";

pub(super) fn be_present(session: &Session, me: &InstanceId, time: Duration) -> Result<Vec<InstanceId>, StoreError> {
    let clock = session.conn().clock();
    // Each process has an id of its own, so the rows of those that have gone would grow without end.
    session.execute(&format!("DELETE FROM leases WHERE name LIKE 'instance/%' AND ends_at <= {clock}"), ())?;
    hold(session, &format!("{PRESENT}{me}"), me, time)?;
    let others = "SELECT holder FROM leases WHERE name LIKE 'instance/%' AND holder <> ?1 ORDER BY holder";
    Ok(session.list(others, (me.as_str(),), |row| row.only::<String>().map(InstanceId::new))?)
}

pub(super) fn leave(session: &Session, me: &InstanceId) -> Result<(), StoreError> {
    session.execute("DELETE FROM leases WHERE name = ?1", (format!("{PRESENT}{me}"),))?;
    Ok(())
}
