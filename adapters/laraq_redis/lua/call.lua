return call()
