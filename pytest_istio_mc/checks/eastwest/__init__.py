"""East-west gateways: addresses, configuration, exposure and loss."""
