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
