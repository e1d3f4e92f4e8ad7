-- Its presence chooses Azure-style requests.
ALTER TABLE providers ADD COLUMN azure_api_version TEXT;
