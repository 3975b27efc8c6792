//! Where a new tenant is put: the region that takes its country, then a shard and a pool of that region by
//! the tenant's id alone, so that nothing has to be counted and a new shard draws only its share.
//!
//! Source: D. Thaler and C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM
//! Transactions on Networking 6(1), 1998 (highest random weight).

use sha2::{Digest, Sha256};
use sqlx::FromRow;
use uuid::Uuid;

use quire_store::SystemTx;
use quire_types::TenantId;

use crate::Error;

/// A legal area.
#[derive(Clone, Debug, FromRow)]
pub struct Region {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The ISO 3166-1 codes of the countries it takes; `*` is every country that no other region names.
    pub countries: Vec<String>,
}

/// Where a tenant is put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) region: String,
    pub(crate) shard: i16,
    pub(crate) pool: String,
}

/// Every region.
pub async fn regions(tx: &mut SystemTx) -> Result<Vec<Region>, Error> {
    Ok(
        sqlx::query_as("select id, name, countries from directory.regions order by id")
            .fetch_all(tx.connection())
            .await?,
    )
}

/// Chooses for a tenant of this country; without one, the region that takes everybody.
pub(crate) async fn choose(
    tx: &mut SystemTx,
    tenant: TenantId,
    country: Option<&str>,
) -> Result<Place, Error> {
    if let Some(code) = country
        && !is_country(code)
    {
        return Err(Error::Invalid(format!(
            "'{code}' is no country: use the two capital letters of ISO 3166-1, such as DE"
        )));
    }
    let regions = regions(tx).await?;
    let region = region_of(&regions, country).ok_or_else(|| {
        Error::Invalid(match country {
            Some(code) => format!("no region of this installation takes tenants from {code}"),
            None => "no region takes tenants without a country: name one".to_owned(),
        })
    })?;
    let shards: Vec<i16> = sqlx::query_scalar(
        "select id from directory.shards where region = $1 and state = 'active' and reserved_for is null",
    )
    .bind(region)
    .fetch_all(tx.connection())
    .await?;
    let pools: Vec<String> = sqlx::query_scalar(
        "select id from directory.pools where region = $1 and state = 'active' and reserved_for is null",
    )
    .bind(region)
    .fetch_all(tx.connection())
    .await?;
    let full = |what| {
        Error::Conflict(format!(
            "region '{region}' has no {what} that takes new tenants"
        ))
    };
    Ok(Place {
        shard: *heaviest(tenant.uuid(), &shards).ok_or_else(|| full("shard"))?,
        pool: heaviest(tenant.uuid(), &pools)
            .ok_or_else(|| full("pool"))?
            .clone(),
        region: region.to_owned(),
    })
}

/// What a region lacks to take new tenants: a shard, a pool, both or nothing.
pub async fn lacks(tx: &mut SystemTx, region: &str) -> Result<Vec<&'static str>, Error> {
    let (shard, pool): (bool, bool) = sqlx::query_as(
        "select exists (select from directory.shards
                        where region = $1 and state = 'active' and reserved_for is null),
                exists (select from directory.pools
                        where region = $1 and state = 'active' and reserved_for is null)",
    )
    .bind(region)
    .fetch_one(tx.connection())
    .await?;
    Ok([("shard", shard), ("pool", pool)]
        .into_iter()
        .filter_map(|(what, is_there)| (!is_there).then_some(what))
        .collect())
}

/// Takes a pool of the region that nobody is in for this tenant alone, if there is one.
pub(crate) async fn claim_pool(
    tx: &mut SystemTx,
    tenant: TenantId,
    region: &str,
) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar(
        "update directory.pools set reserved_for = $1
         where id = (select p.id from directory.pools p
                     where p.region = $2 and p.state = 'active' and p.reserved_for is null
                       and not exists (select from directory.tenants t where t.pool = p.id)
                     order by p.id limit 1 for update skip locked)
           and (select count(*) from directory.pools p
                where p.region = $2 and p.state = 'active' and p.reserved_for is null) > 1
         returning id",
    )
    .bind(tenant.uuid())
    .bind(region)
    .fetch_optional(tx.connection())
    .await?)
}

fn region_of<'a>(regions: &'a [Region], country: Option<&str>) -> Option<&'a str> {
    let takes = |code: &str| {
        regions
            .iter()
            .find(|region| region.countries.iter().any(|taken| taken == code))
            .map(|region| region.id.as_str())
    };
    country.and_then(takes).or_else(|| takes("*"))
}

/// The candidate with the highest weight for this tenant.
fn heaviest<T: ToString>(tenant: Uuid, candidates: &[T]) -> Option<&T> {
    candidates.iter().max_by_key(|candidate| {
        let mut hash = Sha256::new();
        hash.update(tenant.as_bytes());
        hash.update(candidate.to_string());
        <[u8; 32]>::from(hash.finalize())
    })
}

/// ISO 3166-1 alpha-2, as of 2024.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO \
    BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG \
    EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID \
    IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA \
    MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA \
    PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST \
    SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE \
    YT ZA ZM ZW";

fn is_country(code: &str) -> bool {
    COUNTRIES.split_whitespace().any(|known| known == code)
}

/// Says which countries a region takes. A new region has no shard and no pool, so it refuses customers: see
/// [`lacks`].
pub async fn set_region(
    tx: &mut SystemTx,
    id: &str,
    name: &str,
    countries: &[String],
) -> Result<Region, Error> {
    if let Some(code) = countries
        .iter()
        .find(|code| *code != "*" && !is_country(code))
    {
        return Err(Error::Invalid(format!(
            "'{code}' is no country of ISO 3166-1"
        )));
    }
    for other in regions(tx).await?.iter().filter(|region| region.id != id) {
        if let Some(code) = other.countries.iter().find(|code| countries.contains(code)) {
            return Err(Error::Conflict(format!(
                "region '{}' takes {code} already",
                other.id
            )));
        }
    }
    Ok(sqlx::query_as(
        "insert into directory.regions (id, name, countries) values ($1, $2, $3)
         on conflict (id) do update set name = excluded.name, countries = excluded.countries
         returning id, name, countries",
    )
    .bind(id)
    .bind(name)
    .bind(countries)
    .fetch_one(tx.connection())
    .await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(id: &str, countries: &[&str]) -> Region {
        Region {
            id: id.to_owned(),
            name: id.to_owned(),
            countries: countries.iter().map(|code| (*code).to_owned()).collect(),
        }
    }

    #[test]
    fn a_country_decides_the_region_and_the_rest_goes_where_everybody_may() {
        let regions = [region("eu", &["DE", "FR"]), region("us", &["US", "*"])];
        assert_eq!(region_of(&regions, Some("FR")), Some("eu"));
        assert_eq!(region_of(&regions, Some("US")), Some("us"));
        assert_eq!(region_of(&regions, Some("JP")), Some("us"));
        assert_eq!(region_of(&regions, None), Some("us"));
        assert_eq!(
            region_of(&regions[..1], Some("JP")),
            None,
            "never a wider region"
        );
        assert!(is_country("DE") && !is_country("de") && !is_country("XX") && !is_country(""));
    }

    #[test]
    fn a_new_shard_draws_only_its_share() {
        let tenants: Vec<Uuid> = (0..4_000_u128)
            .map(|n| Uuid::from_u128(n * 7_919))
            .collect();
        let before: Vec<i16> = tenants
            .iter()
            .filter_map(|t| heaviest(*t, &[0, 1, 2]).copied())
            .collect();
        let after: Vec<i16> = tenants
            .iter()
            .filter_map(|t| heaviest(*t, &[0, 1, 2, 3]).copied())
            .collect();
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert!(before.iter().zip(&after).all(|(a, b)| a == b || *b == 3));
        assert!((850..1_150).contains(&moved), "{moved}");
    }
}
